use super::*;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NOBODY: Facts<'static> = Facts {
    own: false,
    names: &[],
};

fn policy(mode: Mode, rules: &[&str]) -> Policy {
    let rules = rules.iter().map(|text| text.parse().unwrap()).collect();
    Policy { mode, rules }
}

fn allows(policy: &Policy, to: &str, facts: Facts<'_>) -> bool {
    policy.decide(Protocol::Tcp, to.parse().unwrap(), facts) == Decision::Allowed
}

/// Addresses that are never public, and the nearest ones that are.
const EDGES: [(&str, bool); 47] = [
    ("0.0.0.0", false),
    ("0.255.255.255", false),
    ("1.0.0.0", true),
    ("9.255.255.255", true),
    ("10.0.0.0", false),
    ("10.255.255.255", false),
    ("11.0.0.0", true),
    ("100.63.255.255", true),
    ("100.64.0.0", false),
    ("100.127.255.255", false),
    ("100.128.0.0", true),
    ("127.0.0.1", false),
    ("127.255.255.255", false),
    ("169.253.255.255", true),
    ("169.254.169.254", false),
    ("172.15.255.255", true),
    ("172.16.0.0", false),
    ("172.31.255.255", false),
    ("172.32.0.0", true),
    ("192.0.0.8", false),
    ("192.0.1.1", true),
    ("192.0.2.1", false),
    ("192.88.99.1", false),
    ("192.167.255.255", true),
    ("192.168.0.1", false),
    ("192.169.0.0", true),
    ("198.18.0.1", false),
    ("198.19.255.255", false),
    ("198.51.100.7", false),
    ("203.0.113.7", false),
    ("224.0.0.1", false),
    ("239.255.255.255", false),
    ("240.0.0.1", false),
    ("255.255.255.255", false),
    ("::", false),
    ("::1", false),
    ("fe80::1", false),
    ("fc00::1", false),
    ("fdff::1", false),
    ("ff02::1", false),
    ("fec0::1", false),
    ("2001::1", false),
    ("2001:db8::1", false),
    ("2606:4700::1111", true),
    ("2a00::1", true),
    ("::192.168.0.1", false),
    ("64:ff9b:1::1", false),
];

#[test]
fn by_default_only_public_addresses_that_are_not_the_hosts_are_reached() {
    let policy = Policy::default();
    for (text, public) in EDGES {
        let address = SocketAddr::new(text.parse().unwrap(), 443);
        let decided = policy.decide(Protocol::Tcp, address, NOBODY);
        assert_eq!(decided == Decision::Allowed, public, "{text}");
        let own = Facts {
            own: true,
            ..NOBODY
        };
        let decided = policy.decide(Protocol::Tcp, address, own);
        assert!(
            matches!(decided, Decision::Refused(_)),
            "{text} of the host"
        );
    }
}

proptest! {
    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_what_it_is_without(raw in any::<u32>(), tail in any::<u64>()) {
        let v4 = Ipv4Addr::from(raw);
        let bare = Class::of(v4.into(), false);
        let [high, low] = [(raw >> 16) as u16, raw as u16];
        let clothed = [
            v4.to_ipv6_mapped(),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, (tail >> 48) as u16, (tail >> 32) as u16, (tail >> 16) as u16, tail as u16, 1),
        ];
        for address in clothed {
            prop_assert_eq!(Class::of(address.into(), false), bare);
        }
    }

    #[test]
    fn a_rule_written_down_is_the_same_rule(
        deny in any::<bool>(), raw in any::<u128>(), prefix in 0u8..=128, v4 in any::<bool>(),
        ports in proptest::collection::vec((1u16.., 0u16..100), 0..3), protocol in 0usize..3,
    ) {
        let (address, prefix) = if v4 {
            let prefix = prefix % 33;
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            (IpAddr::V4(Ipv4Addr::from(raw as u32 & mask)), prefix)
        } else {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            (IpAddr::V6(Ipv6Addr::from(raw & mask)), prefix)
        };
        let mut text = format!("{}:[{address}]/{prefix}", if deny { "deny" } else { "allow" });
        for (index, (first, more)) in ports.iter().enumerate() {
            let separator = if index == 0 { ':' } else { ',' };
            text += &format!("{separator}{first}-{}", first.saturating_add(*more));
        }
        text += ["", "/tcp", "/udp"][protocol];
        let rule: Rule = text.parse().unwrap();
        prop_assert_eq!(&rule.to_string().parse::<Rule>().unwrap(), &rule);
        let port = ports.first().map_or(1, |(first, _)| *first);
        let inside = rule.matches(Protocol::Udp, SocketAddr::new(address, port), &[]);
        prop_assert_eq!(inside, protocol != 1);
    }

    #[test]
    fn no_text_makes_the_parser_fall_over(text in "\\PC{0,40}") {
        let _ = text.parse::<Rule>();
        let _ = format!("allow:{text}").parse::<Rule>();
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let policy = policy(
        Mode::Public,
        &[
            "allow:10.1.0.0/16:5432/tcp",
            "deny:10.1.2.3",
            "allow:10.1.2.3",
            "deny:8.8.8.8",
            "deny:*:25",
        ],
    );
    assert!(allows(&policy, "10.1.2.3:5432", NOBODY));
    assert!(!allows(&policy, "10.1.2.3:5433", NOBODY));
    assert!(!allows(&policy, "8.8.8.8:53", NOBODY));
    assert!(allows(&policy, "8.8.4.4:53", NOBODY));
    assert!(!allows(&policy, "8.8.4.4:25", NOBODY));
    let refused = policy.decide(Protocol::Udp, "8.8.8.8:53".parse().unwrap(), NOBODY);
    assert_eq!(refused, Decision::Refused("deny:8.8.8.8/32".into()));
}

#[test]
fn a_name_opens_public_addresses_and_never_private_ones() {
    let policy = policy(
        Mode::Public,
        &["allow:*.example.com:443", "allow:example.org", "deny:*"],
    );
    let named = |names| Facts { own: false, names };
    assert!(allows(
        &policy,
        "93.184.216.34:443",
        named(&["www.example.com"])
    ));
    assert!(allows(
        &policy,
        "93.184.216.34:80",
        named(&["x.net", "example.org"])
    ));
    assert!(!allows(
        &policy,
        "93.184.216.34:80",
        named(&["www.example.com"])
    ));
    assert!(!allows(
        &policy,
        "93.184.216.34:443",
        named(&["example.com"])
    ));
    assert!(!allows(
        &policy,
        "93.184.216.34:443",
        named(&["badexample.com"])
    ));
    assert!(!allows(&policy, "93.184.216.34:443", NOBODY));
    assert!(!allows(
        &policy,
        "192.168.1.1:443",
        named(&["www.example.com"])
    ));
    let own = Facts {
        own: true,
        names: &["www.example.com"],
    };
    assert!(!allows(&policy, "93.184.216.34:443", own));
}

#[test]
fn everything_is_open_in_full_mode_but_what_a_rule_denies() {
    let policy = policy(Mode::Full, &["deny:169.254.169.254"]);
    assert!(allows(
        &policy,
        "127.0.0.1:80",
        Facts {
            own: true,
            names: &[]
        }
    ));
    assert!(allows(&policy, "192.168.1.1:80", NOBODY));
    assert!(!allows(&policy, "169.254.169.254:80", NOBODY));
}

#[test]
fn what_is_no_rule_is_refused_with_its_reason() {
    use RuleError as Error;
    for (text, expected) in [
        ("1.2.3.4", Error::Action),
        ("permit:1.2.3.4", Error::Action),
        ("allow:1.2.3.4/33", Error::Prefix("1.2.3.4/33".into())),
        ("allow:1.2.3.4/8", Error::Prefix("1.2.3.4/8".into())),
        ("allow:1.2.3", Error::Target("1.2.3".into())),
        ("allow:", Error::Target(String::new())),
        ("allow:a..b", Error::Target("a..b".into())),
        ("allow:1.2.3.4:0", Error::Ports("0".into())),
        ("allow:1.2.3.4:90-80", Error::Ports("90-80".into())),
        ("allow:1.2.3.4/icmp", Error::Protocol("icmp".into())),
        ("allow:1.2.3.4:80/sctp", Error::Protocol("sctp".into())),
    ] {
        assert_eq!(text.parse::<Rule>(), Err(expected), "{text}");
    }
    for text in [
        "allow:::1",
        "allow:[::1]:80",
        "allow:fd00::/8",
        "deny:[fd00::]/8:80,443/udp",
        "allow:*.a.b:1-2",
    ] {
        let rule: Rule = text.parse().unwrap();
        assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule, "{text}");
    }
}

#[test]
fn a_closed_network_is_closed_in_every_form_of_its_addresses() {
    let policy = policy(
        Mode::Full,
        &["deny:93.184.216.0/24", "allow:8.8.8.8", "deny:8.0.0.0/8"],
    );
    for (to, allowed) in [
        ("93.184.216.34:80", false),
        ("[::ffff:93.184.216.34]:80", false),
        ("[64:ff9b::5db8:d822]:80", false),
        ("[2002:5db8:d822::1]:80", false),
        ("[2606:4700::1111]:80", true),
        ("8.8.8.8:53", true),
        // What is opened is opened by its own name alone.
        ("[64:ff9b::808:808]:53", false),
    ] {
        assert_eq!(allows(&policy, to, NOBODY), allowed, "{to}");
    }
}
