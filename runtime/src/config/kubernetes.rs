//! Recognises the variables that Kubernetes sets in every container for the services of its namespace. For a service
//! named `rpp` or `rpp-rpc`, some of them look like ours although nobody made a mistake.

/// Whether a variable has the form that Kubernetes (and earlier Docker's links) uses for a service:
///
/// ```text
/// <NAME>_SERVICE_HOST=10.96.0.12          <NAME>_PORT=tcp://10.96.0.12:7070
/// <NAME>_SERVICE_PORT=7070                <NAME>_PORT_7070_TCP=tcp://10.96.0.12:7070
/// <NAME>_SERVICE_PORT_<PORT NAME>=7070    <NAME>_PORT_7070_TCP_PROTO, _PORT, _ADDR
/// ```
pub(super) fn is_service_variable(name: &str, value: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    if name.ends_with("_PORT") && value.contains("://") {
        return true;
    }
    name.match_indices("_PORT_").any(|(at, found)| is_port(&name[at + found.len()..]))
}

/// `7070_TCP`, and what may follow it.
fn is_port(rest: &str) -> bool {
    let Some((number, rest)) = rest.split_once('_') else { return false };
    let (protocol, part) = rest.split_once('_').unwrap_or((rest, ""));
    number.parse::<u16>().is_ok()
        && matches!(protocol, "TCP" | "UDP" | "SCTP")
        && matches!(part, "" | "PROTO" | "PORT" | "ADDR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_services_are_known_and_nothing_else() {
        for (name, value) in [
            ("RPP_RPC_SERVICE_HOST", "10.96.0.12"),
            ("RPP_RPC_SERVICE_PORT", "7070"),
            ("RPP_RPC_SERVICE_PORT_HTTP_API", "7070"),
            ("RPP_RPC_PORT", "tcp://10.96.0.12:7070"),
            ("RPP_P2P_PORT", "udp://[fd00::1]:4001"),
            ("RPP_RPC_PORT_7070_TCP", "tcp://10.96.0.12:7070"),
            ("RPP_RPC_PORT_7070_TCP_ADDR", "10.96.0.12"),
            ("RPP_RPC_PORT_7070_TCP_PORT", "7070"),
            ("RPP_P2P_PORT_4001_UDP_PROTO", "udp"),
        ] {
            assert!(is_service_variable(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("RPP_RPC_PORT", "7070"),
            ("RPP_RPC_LISTN", "127.0.0.1:7070"),
            ("RPP_RPC_PORT_HTTP", "7070"),
            ("RPP_RPC_PORT_99999_TCP", "x"),
            ("RPP_RPC_PORT_7070_TCP_X", "x"),
            ("RPP_RPC_SERVICE", "x"),
        ] {
            assert!(!is_service_variable(name, value), "{name}={value}");
        }
    }
}
