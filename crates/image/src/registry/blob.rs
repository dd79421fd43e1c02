//! A blob as a stream that survives broken connections.
use std::io::{self, Read};

use ureq::BodyReader;
use ureq::http::{Method, StatusCode, header};

use super::http::{Answer, Outgoing};
use super::url::shown;
use super::{Registry, RegistryError};
use crate::manifest::Descriptor;

/// This much arriving in one piece forgives earlier failures. A server that breaks more often than
/// that is given up after the usual number of attempts.
const FORGIVING_LEN: u64 = 256 << 10;

/// Reads a blob's bytes in order; after a break it asks for the rest with a `Range` request.
///
/// The bytes are not verified here. An [`io::Error`] holds the [`RegistryError`] that ended it.
pub(crate) struct BlobStream<'a> {
    registry: &'a Registry,
    descriptor: Descriptor,
    body: Option<BodyReader<'static>>,
    url: String,
    offset: u64,
    failures: u32,
    since_failure: u64,
}

impl Registry {
    /// Prepares to read a blob. The first read asks for it.
    pub(crate) fn blob(&self, descriptor: &Descriptor) -> BlobStream<'_> {
        BlobStream {
            registry: self,
            descriptor: descriptor.clone(),
            body: None,
            url: String::new(),
            offset: 0,
            failures: 0,
            since_failure: 0,
        }
    }
}

impl BlobStream<'_> {
    fn open(&mut self) -> Result<BodyReader<'static>, RegistryError> {
        let path = format!("blobs/{}", self.descriptor.digest);
        let (url, mut body, skip) = self.registry.at_any(|endpoint| {
            let mut request = Outgoing::new(
                Method::GET,
                endpoint.repository_url(&self.registry.http, &path)?,
            );
            request.offset = self.offset;
            let answer = self.registry.call(endpoint, &mut request)?;
            let skip = match self.bytes_to_skip(&request, &answer) {
                Ok(skip) => skip,
                Err(None) => return Err(self.registry.refusal(endpoint, &request, answer)),
                Err(Some(error)) => return Err(error),
            };
            let body = answer
                .into_body()
                .into_with_config()
                .limit(u64::MAX)
                .reader();
            Ok((shown(&request.url), body, skip))
        })?;
        self.url = url;
        let skipped = io::copy(&mut body.by_ref().take(skip), &mut io::sink());
        match skipped {
            Ok(count) if count == skip => Ok(body),
            Ok(_) => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            Err(source) => Err(self.broken(source)),
        }
    }

    /// How much of an answer we have already: nothing if the server understood where to continue.
    /// `Err(None)`: the answer is an error of the server's.
    fn bytes_to_skip(
        &self,
        request: &Outgoing,
        answer: &Answer,
    ) -> Result<u64, Option<RegistryError>> {
        let text = |name| {
            answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let wrong_size = |found| {
            Some(RegistryError::WrongSize {
                url: shown(&request.url),
                expected: self.descriptor.size,
                found,
            })
        };
        match answer.status() {
            StatusCode::OK => {
                let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
                match length {
                    Some(found) if found != self.descriptor.size => Err(wrong_size(found)),
                    _ => Ok(self.offset),
                }
            }
            StatusCode::PARTIAL_CONTENT => {
                let range = text(header::CONTENT_RANGE).unwrap_or_default();
                match parse_content_range(range) {
                    Some((start, Some(total)))
                        if start == self.offset && total != self.descriptor.size =>
                    {
                        Err(wrong_size(total))
                    }
                    Some((start, _)) if start == self.offset => Ok(0),
                    _ => Err(Some(RegistryError::WrongRange {
                        url: shown(&request.url),
                        offset: self.offset,
                        range: range
                            .chars()
                            .filter(|c| !c.is_control())
                            .take(100)
                            .collect(),
                    })),
                }
            }
            _ => Err(None),
        }
    }

    fn broken(&self, source: io::Error) -> RegistryError {
        RegistryError::Broken {
            url: self.url.clone(),
            source,
        }
    }

    /// Forgets the connection, and waits if it is worth trying again.
    fn recover(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.body = None;
        if self.since_failure >= FORGIVING_LEN {
            self.failures = 0;
        }
        self.since_failure = 0;
        self.failures += 1;
        self.registry
            .http
            .pause_after(error, self.failures, None, &self.registry.retry)
    }

    fn read_once(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        let left = self.descriptor.size - self.offset;
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        loop {
            self.registry.patience.check()?;
            let error = match &mut self.body {
                Some(body) => match body.read(&mut buffer[..wanted]) {
                    Ok(0) => self.broken(io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => {
                        self.offset += count as u64;
                        self.since_failure += count as u64;
                        return Ok(count);
                    }
                    Err(source) => self.broken(source),
                },
                None => match self.open() {
                    Ok(body) => {
                        self.body = Some(body);
                        continue;
                    }
                    Err(error @ RegistryError::Broken { .. }) => error,
                    // Has been repeated as often as it should.
                    Err(error) => return Err(error),
                },
            };
            self.recover(error)?;
        }
    }

    /// After the last byte there must be no more. Reading the end also frees the connection for others.
    fn check_end(&mut self) -> Result<(), RegistryError> {
        let Some(mut body) = self.body.take() else {
            return Ok(());
        };
        match body.read(&mut [0]) {
            Ok(1..) => Err(RegistryError::WrongSize {
                url: self.url.clone(),
                expected: self.descriptor.size,
                found: self.descriptor.size + 1,
            }),
            // All that was promised has come; how the server hangs up is its affair.
            Ok(0) | Err(_) => Ok(()),
        }
    }
}

impl Read for BlobStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let result = if self.offset == self.descriptor.size {
            self.check_end().map(|()| 0)
        } else {
            self.read_once(buffer)
        };
        result.map_err(io::Error::other)
    }
}

/// First byte and total length of `bytes FIRST-LAST/TOTAL` (RFC 9110 section 14.4).
fn parse_content_range(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _last) = range.trim().split_once('-')?;
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((first.parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::parse_content_range;

    #[test]
    fn content_ranges_give_start_and_total() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, None)));
        for header in [
            "",
            "bytes */10",
            "5-9/10",
            "bytes a-9/10",
            "bytes 5-9",
            "bytes 5-9/x",
        ] {
            assert_eq!(parse_content_range(header), None, "{header}");
        }
    }
}
