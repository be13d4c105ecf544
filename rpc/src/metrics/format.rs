//! OpenMetrics or the classic text format of Prometheus, as the request accepts.

use http::{HeaderMap, header};
use mime::Mime;

/// How `GET /metrics` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    OpenMetrics,
    /// Version 0.0.4, which every tool can read.
    Classic,
}

impl Format {
    /// OpenMetrics for clients that name it and do not prefer plain text; Prometheus' own exporters decide in the same
    /// way.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let mut openmetrics = 0.0_f32;
        let mut plain = 0.0_f32;
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in values.flat_map(|value| value.split(',')).filter_map(|range| range.trim().parse::<Mime>().ok()) {
            let quality = range.get_param("q").map_or(Ok(1.0), |q| q.as_str().parse::<f32>()).unwrap_or(0.0);
            let version = range.get_param("version").map(|version| version.as_str().to_owned());
            match (range.essence_str(), version.as_deref()) {
                ("application/openmetrics-text", None | Some("1.0.0")) => openmetrics = openmetrics.max(quality),
                ("text/plain", None | Some("0.0.4")) => plain = plain.max(quality),
                _ => {}
            }
        }
        if openmetrics > 0.0 && openmetrics >= plain { Self::OpenMetrics } else { Self::Classic }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Converts `openmetrics`, as our encoder writes it, to this format.
    pub(crate) fn written(self, openmetrics: String) -> String {
        match self {
            Self::OpenMetrics => openmetrics,
            Self::Classic => classic(&openmetrics),
        }
    }
}

/// The samples are the same in both formats. Names and types of some families differ, and the classic one has neither
/// unit nor end.
fn classic(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len() + openmetrics.len() / 8);
    let mut help = None;
    for line in openmetrics.lines() {
        let Some(meta) = line.strip_prefix("# ") else {
            out.extend([line, "\n"]);
            continue;
        };
        let mut words = meta.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(_), text) => help = text,
            (Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "stateset" => ("", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                // In OpenMetrics quotes are escaped here too.
                let text = help.take().unwrap_or_default().replace("\\\"", "\"");
                out.extend(["# HELP ", name, suffix, " ", &text, "\n# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            _ => {} // UNIT, EOF
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accept: &[&str]) -> Format {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        Format::accepted(&headers)
    }

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        for accept in [
            // Prometheus 2.42 and 3.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             text/plain;version=0.0.4;escaping=allow-utf-8;q=0.3,*/*;q=0.2",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; charset=utf-8, text/plain",
        ] {
            assert_eq!(accepted(&[accept]), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/*",
            "text/plain",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.2,text/plain;q=0.5",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=x",
            "application/json",
            ",;",
        ] {
            assert_eq!(accepted(&[accept]), Format::Classic, "{accept}");
        }
        assert_eq!(accepted(&[]), Format::Classic);
        assert_eq!(accepted(&["text/html", "application/openmetrics-text"]), Format::OpenMetrics);
    }

    #[test]
    fn the_classic_text_has_its_own_names_and_types() {
        let openmetrics = "# HELP rpp_acks Acks, \\\"sent\\\".\n# TYPE rpp_acks counter\nrpp_acks_total{kind=\"ack\"} 1\n\
            # HELP rpp_build Version.\n# TYPE rpp_build info\nrpp_build_info{version=\"1\"} 1\n\
            # HELP x_seconds X.\n# TYPE x_seconds histogram\n# UNIT x_seconds seconds\nx_seconds_sum 0.0\n# EOF\n";
        let expected = "# HELP rpp_acks_total Acks, \"sent\".\n# TYPE rpp_acks_total counter\n\
            rpp_acks_total{kind=\"ack\"} 1\n# HELP rpp_build_info Version.\n# TYPE rpp_build_info gauge\n\
            rpp_build_info{version=\"1\"} 1\n# HELP x_seconds X.\n# TYPE x_seconds histogram\nx_seconds_sum 0.0\n";
        assert_eq!(Format::Classic.written(openmetrics.into()), expected);
        assert_eq!(Format::OpenMetrics.written(openmetrics.into()), openmetrics);
    }
}
