//! The web page; its files are part of the program.

use rpp_http::page_file;
use warp::{Filter, Rejection, path::FullPath, reply::Response};

/// Paths of the page; none needs a token.
pub(crate) const PATHS: [&str; 9] =
    ["/", "/app.js", "/model.js", "/graph.js", "/waits.js", "/compare.js", "/list.js", "/style.css", "/favicon.svg"];

/// No inline script or style, nothing from other hosts, no embedding in frames.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Takes the paths of the page.
pub(crate) fn path() -> impl Filter<Extract = (&'static str,), Error = Rejection> + Copy {
    warp::path::full().and_then(|path: FullPath| async move {
        let found = PATHS.into_iter().find(|known| *known == path.as_str());
        found.ok_or_else(warp::reject::not_found)
    })
}

/// The file at this path.
pub(crate) fn file(path: &str) -> Option<Response> {
    let (kind, content) = match path {
        "/" => ("text/html; charset=utf-8", include_str!("page/index.html")),
        "/app.js" => (SCRIPT, include_str!("page/app.js")),
        "/model.js" => (SCRIPT, include_str!("page/model.js")),
        "/graph.js" => (SCRIPT, include_str!("page/graph.js")),
        "/waits.js" => (SCRIPT, include_str!("page/waits.js")),
        "/compare.js" => (SCRIPT, include_str!("page/compare.js")),
        "/list.js" => (SCRIPT, include_str!("page/list.js")),
        "/style.css" => ("text/css; charset=utf-8", include_str!("page/style.css")),
        "/favicon.svg" => ("image/svg+xml", include_str!("page/favicon.svg")),
        _ => return None,
    };
    Some(page_file(kind, content, POLICY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_a_file_without_inline_script() {
        for path in PATHS {
            assert!(file(path).is_some(), "{path}");
        }
        let html = include_str!("page/index.html");
        assert_eq!(html.matches("<script").count(), html.matches("<script src=").count());
        assert!(!html.contains("style=") && !html.contains("<style") && !html.contains("onclick"));
        let scripts = [
            include_str!("page/app.js"),
            include_str!("page/model.js"),
            include_str!("page/graph.js"),
            include_str!("page/waits.js"),
            include_str!("page/compare.js"),
            include_str!("page/list.js"),
        ];
        assert_eq!(html.matches("<script").count(), scripts.len());
        for script in scripts {
            for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
                assert!(!script.contains(way), "{way}");
            }
        }
    }
}
