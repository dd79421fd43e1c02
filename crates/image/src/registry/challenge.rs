//! How a registry asks for a login: the `WWW-Authenticate` header (RFC 9110 section 11).

/// One scheme a server offers, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In lowercase.
    pub(super) scheme: String,
    params: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter; names are compared without case.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Reads a header, which may hold several challenges. What cannot be understood ends the reading.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut reader = Reader { rest: header };
    let mut challenges: Vec<Challenge> = Vec::new();
    loop {
        reader.skip_separators();
        let Some(word) = reader.token() else {
            return challenges;
        };
        // A word is a parameter if `=` follows; otherwise a new scheme begins.
        match (reader.value(), challenges.last_mut()) {
            (Some(value), Some(challenge)) => {
                challenge.params.push((word.to_ascii_lowercase(), value));
            }
            (Some(_), None) => return challenges,
            (None, _) => challenges.push(Challenge {
                scheme: word.to_ascii_lowercase(),
                params: Vec::new(),
            }),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip_separators(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
        let end = self.rest.find(|c| !is_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// What follows `=`: a token or a quoted text. `None` leaves the position as it was.
    fn value(&mut self) -> Option<String> {
        let after = self
            .rest
            .trim_start_matches([' ', '\t'])
            .strip_prefix('=')?;
        self.rest = after.trim_start_matches([' ', '\t']);
        match self.rest.strip_prefix('"') {
            Some(quoted) => Some(self.quoted(quoted)),
            None => Some(self.token().unwrap_or_default().to_owned()),
        }
    }

    fn quoted(&mut self, text: &'a str) -> String {
        let mut value = String::new();
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &text[at + 1..];
                    return value;
                }
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                c => value.push(c),
            }
        }
        self.rest = "";
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bearer_challenge_gives_realm_service_and_scope() {
        let header = r#"Bearer realm="https://auth.example/token?x=1,2",service="registry.example",scope="repository:a/b:pull,push""#;
        let challenges = parse(header);
        assert_eq!(challenges.len(), 1);
        assert_eq!(challenges[0].scheme, "bearer");
        assert_eq!(
            challenges[0].param("realm"),
            Some("https://auth.example/token?x=1,2")
        );
        assert_eq!(challenges[0].param("service"), Some("registry.example"));
        assert_eq!(
            challenges[0].param("scope"),
            Some("repository:a/b:pull,push")
        );
        assert_eq!(challenges[0].param("error"), None);
    }

    #[test]
    fn several_challenges_spaces_case_and_escapes_are_understood() {
        let challenges =
            parse(r#"Negotiate, BASIC Realm = "a \"b\\ c" , charset=UTF-8,bearer realm=https"#);
        let schemes: Vec<&str> = challenges.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["negotiate", "basic", "bearer"]);
        assert_eq!(challenges[1].param("realm"), Some(r#"a "b\ c"#));
        assert_eq!(challenges[1].param("charset"), Some("UTF-8"));
    }

    #[test]
    fn nonsense_gives_nothing() {
        for header in ["", " , ", "=x", "\"", "realm=\"x\""] {
            assert_eq!(parse(header), [], "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_survived(header in ".*") {
            parse(&header);
        }
    }
}
