//! Resolves names in addresses: with the system's settings, or not at all if these cannot be used. A node that uses
//! only IP addresses needs no names.

use std::{fs, io, path::Path};

use hickory_resolver::{net::DnsError, proto::op::ResponseCode, system_conf::parse_resolv_conf};
use libp2p::dns::{ResolverConfig, ResolverOpts};

/// The file with the system's settings.
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What the swarm's resolver is made from.
pub(crate) struct Resolver {
    pub(crate) config: ResolverConfig,
    pub(crate) options: ResolverOpts,
    /// A warning for the operator.
    pub(crate) warning: Option<String>,
}

/// Reads the system's file. If it has mistakes, only its name servers are used. Without any name server, each name
/// fails at once, one by one.
pub(crate) fn of_system(path: &Path) -> Resolver {
    let read = fs::read(path);
    let usable = |text: &[u8]| parse_resolv_conf(text).map_err(|error| io::Error::other(error.to_string()));
    let error = match read.as_ref().map_err(|error| io::Error::from(error.kind())).and_then(|text| usable(text)) {
        Ok((config, options)) => return Resolver { config, options, warning: None },
        Err(error) => error,
    };
    match read.and_then(|text| usable(&name_servers(&text))) {
        Ok((config, options)) => {
            let warning = format!("{} has mistakes ({error}): only its name servers are used", path.display());
            Resolver { config, options, warning: Some(warning) }
        }
        Err(_) => {
            let warning = format!(
                "no name server is known ({}: {error}): addresses with /dns names cannot be dialled, those with IP addresses can",
                path.display()
            );
            Resolver { config: ResolverConfig::default(), options: ResolverOpts::default(), warning: Some(warning) }
        }
    }
}

/// The words for an error of the resolver whose own text has debug text in it; `None` for any other error.
pub(crate) fn words(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    match error.downcast_ref()? {
        DnsError::NoRecordsFound(none) => {
            let name = none.query.name().to_string();
            let name = name.trim_end_matches('.');
            Some(match none.response_code {
                ResponseCode::NXDomain => format!("the name {name} does not exist"),
                _ => format!("the name {name} has no record of type {}", none.query.query_type()),
            })
        }
        _ => None,
    }
}

/// The lines that name a name server.
fn name_servers(text: &[u8]) -> Vec<u8> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter(|line| line.trim_ascii_start().starts_with(b"nameserver")).collect::<Vec<_>>().join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u8]) -> (Vec<String>, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        fs::write(&path, text).unwrap();
        servers(&of_system(&path))
    }

    fn servers(resolver: &Resolver) -> (Vec<String>, Option<String>) {
        let servers = resolver.config.name_servers.iter().map(|server| server.ip.to_string()).collect();
        (servers, resolver.warning.clone())
    }

    #[test]
    fn a_good_file_is_used_as_it_is() {
        let (servers, warning) = of(b"nameserver 10.0.0.1\nnameserver fd00::1\nsearch example.org\noptions edns0\n");
        assert_eq!((servers, warning), (vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()], None));
    }

    #[test]
    fn without_a_name_server_there_is_a_resolver_all_the_same_and_a_warning() {
        let no_file = of_system(Path::new("/nonexistent/resolv.conf"));
        for (servers, warning) in [of(b""), of(b"# nothing\nnot a line\n"), of(&[0xff, 0, b'\n']), servers(&no_file)] {
            assert!(servers.is_empty(), "{servers:?}");
            assert!(warning.unwrap().contains("resolv.conf"));
        }
    }

    #[test]
    fn a_name_without_an_address_is_told_without_debug_text() {
        use hickory_resolver::{
            net::{NetError, NoRecords},
            proto::{op::Query, rr::RecordType},
        };
        for (code, said) in [
            (ResponseCode::NXDomain, "the name node.example does not exist"),
            (ResponseCode::NoError, "the name node.example has no record of type AAAA"),
        ] {
            let query = Query::query("node.example.".parse().unwrap(), RecordType::AAAA);
            let error = NetError::from(DnsError::NoRecordsFound(NoRecords::new(query, code)));
            assert_eq!(crate::swarm::innermost(&error), said);
        }
    }

    #[test]
    fn name_servers_are_taken_from_a_file_with_mistakes() {
        let (servers, warning) = of(b"nameserver 10.0.0.1\nsearch a..b\nnot a line\noptions no-such-option\n");
        assert_eq!(servers, ["10.0.0.1"]);
        assert!(warning.is_some_and(|text| text.contains("mistakes")));
        let (servers, _) =
            of(b"# made by a VPN client\nnameserver fe80::1%eth9\noptions edns0 no-such-option\nnot a line\n");
        assert_eq!(servers, ["fe80::1"]);
    }
}
