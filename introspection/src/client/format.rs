//! Formats figures for people.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// `1.5 MiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // Ten bits for each unit, and one digit after the point without floating point.
    let unit = ((63 - count.leading_zeros()) / 10) as usize;
    let tenths = (u128::from(count) * 10) >> (10 * unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit - 1])
}

/// `12 MiB/s`, or an empty text.
pub(super) fn rate(per_second: u64) -> String {
    if per_second == 0 { String::new() } else { format!("{}/s", bytes(per_second)) }
}

/// `1.25 ms`.
pub(super) fn nanos(nanos: u64) -> String {
    match nanos {
        0 => String::new(),
        n if n < 10_000_000 => format!("{}.{:02} ms", n / 1_000_000, n % 1_000_000 / 10_000),
        n => format!("{} ms", n / 1_000_000),
    }
}

/// `1m05s`.
pub(super) fn span_ms(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms} ms"),
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m{:02}s", s / 60, s % 60),
        s => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
    }
}

/// RFC 3339 in UTC.
pub(super) fn instant(unix_ms: u64) -> String {
    let nanos = i128::from(unix_ms) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{unix_ms} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([bytes(0), bytes(1023), bytes(1024), bytes(1_572_864)], ["0 B", "1023 B", "1.0 KiB", "1.5 MiB"]);
        assert_eq!(bytes(u64::MAX), "15.9 EiB");
        assert_eq!([nanos(0), nanos(1_250_000), nanos(45_000_000)], ["", "1.25 ms", "45 ms"]);
        assert_eq!([span_ms(14), span_ms(65_000), span_ms(7_260_000)], ["14 ms", "1m05s", "2h01m"]);
        assert_eq!(instant(1_763_715_600_250), "2025-11-21T09:00:00.25Z");
        assert_eq!(instant(u64::MAX), format!("{} ms", u64::MAX));
    }
}
