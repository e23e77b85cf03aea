//! Host and port, as the Host field and a target in absolute form have them.

/// A byte of a name.
const NAME: u8 = 1;
/// A byte that has a meaning: `:`, `[` or `]`.
const MARK: u8 = 2;
/// A byte that never stands in a host or port.
const ALIEN: u8 = 4;

/// RFC 3986, 3.2.2 and 3.2.3. A table, since every request has a Host. Percent encodings are refused, though the
/// grammar has them: no name that is in use needs them, and who decodes them sees another host.
static BYTES: [u8; 256] = {
    let mut kinds = [ALIEN; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || matches!(byte, b'!' | b'$' | b'&'..=b',' | b';' | b'=')
        {
            kinds[byte as usize] = NAME;
        } else if matches!(byte, b':' | b'[' | b']') {
            kinds[byte as usize] = MARK;
        }
        byte += 1;
    }
    kinds
};

/// Whether this is a host with an optional port. It may be empty, as a Host field may.
pub(in crate::shard) fn is_authority(authority: &[u8]) -> bool {
    let kinds = authority.iter().fold(0, |kinds, &byte| kinds | BYTES[usize::from(byte)]);
    if kinds & (ALIEN | MARK) == 0 {
        return true;
    }
    let (host, port) = split(authority);
    let port_fits = port.is_none_or(|port| port.len() <= 5 && port.iter().all(u8::is_ascii_digit));
    let host_fits = match host {
        [b'[', address @ .., b']'] => {
            str::from_utf8(address).is_ok_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
        }
        name => name.iter().all(|&byte| BYTES[usize::from(byte)] == NAME),
    };
    port_fits && host_fits
}

/// Host and port; the brackets of an address stay with it.
pub(in crate::shard) fn split(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memrchr(b':', authority) {
        // A colon within brackets is the address's own.
        Some(colon) if memchr::memchr(b']', &authority[colon..]).is_none() => {
            (&authority[..colon], Some(&authority[colon + 1..]))
        }
        Some(_) | None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in [
            "",
            "h",
            "example.org",
            "h:80",
            "h:",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "a_b",
            "x!$&'()*+,;=",
        ] {
            assert!(is_authority(host.as_bytes()), "{host}");
        }
        for host in [
            "a b",
            "a/b",
            "a@b",
            "a:b",
            "a:1:2",
            ":a",
            "::1",
            "[::1",
            "::1]",
            "[::1]x",
            "[]",
            "[a]",
            "[::1]:x",
            "a%41",
            "a\u{e9}",
            "a:123456",
            "a?b",
            "[::1%25eth0]",
            "h:+1",
            "[1.2.3.4]",
        ] {
            assert!(!is_authority(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn parts() {
        for (authority, host, port) in [
            ("", "", None),
            ("h", "h", None),
            ("h:", "h", Some("")),
            ("h:80", "h", Some("80")),
            ("[::1]", "[::1]", None),
            ("[::1]:80", "[::1]", Some("80")),
        ] {
            assert_eq!(
                split(authority.as_bytes()),
                (host.as_bytes(), port.map(str::as_bytes)),
                "{authority}"
            );
        }
    }
}
