//! What the documents claim about names and files.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::harness::repository;

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

fn markdown() -> Vec<PathBuf> {
    let files = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut found = files(repository());
    found.extend(files(&repository().join("docs")));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(found.len() > 10);
    found
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    for path in markdown() {
        let text = fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if file.is_empty() || target.contains("://") {
                continue;
            }
            assert!(path.parent().unwrap().join(file).exists(), "{}: {target}", path.display());
        }
    }
}

#[test]
fn every_document_is_in_the_index() {
    let index = read("docs/README.md");
    for path in markdown().iter().filter(|path| path.parent().unwrap().ends_with("docs")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name == "README.md" || index.contains(&format!("({name})")), "{name}");
    }
}

#[test]
fn troubleshooting_has_a_place_for_every_word_of_the_status() {
    let text = read("docs/troubleshooting.md");
    for word in [
        "connection",
        "plan",
        "chunk",
        "light_client_update",
        "ack",
        "proof",
        "disk",
        "credit",
        "throttle",
        "session",
        "retry",
        "operator",
        "network",
        "checksum",
        "authentication",
        "resume_mismatch",
        "provider",
        "storage",
        "stale",
        "equivocation",
        "cancelled",
    ] {
        assert!(text.contains(&format!("\n### `{word}`\n")), "{word}");
    }
    assert_eq!(text.matches("\n### `proof`\n").count(), 2, "`proof` is waited for, and an error code");
}

/// The names of all direct dependencies of all crates.
fn dependencies() -> BTreeSet<String> {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let mut names = BTreeSet::new();
    for folder in members.iter().map(|member| member.as_str().unwrap()).chain(["."]) {
        let manifest: toml::Table = read(&format!("{folder}/Cargo.toml")).parse().unwrap();
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(table).and_then(|table| table.as_table());
            names.extend(table.into_iter().flat_map(|table| table.keys().cloned()));
        }
    }
    names.retain(|name| !name.starts_with("rpp-"));
    names
}

#[test]
fn the_direct_dependencies_and_their_reasons_agree() {
    let text = read("docs/dependencies.md");
    // In table rows the crates stand in the first column; what only tests use is named below the table.
    let columns = text.lines().map(|line| match line.strip_prefix("| ") {
        Some(row) => row.split(" | ").next().unwrap_or_default(),
        None => line,
    });
    let explained: BTreeSet<String> = columns
        .flat_map(|part| part.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .filter(|name| name != "deny.toml")
        .collect();
    assert_eq!(dependencies().difference(&explained).collect::<Vec<_>>(), Vec::<&String>::new(), "without a reason");
    assert_eq!(explained.difference(&dependencies()).collect::<Vec<_>>(), Vec::<&String>::new(), "not used any more");
}

#[test]
fn the_checks_run_the_commands_that_the_readme_names() {
    let (readme, checks) = (read("README.md"), read(".ci/run"));
    for command in ["cargo test --workspace --release --locked", "cargo run --release"] {
        assert!(readme.contains(command) && checks.contains(command), "{command}");
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_the_node_has() {
    let dashboard: Value = serde_json::from_str(&read("config/grafana.json")).unwrap();
    let metrics = read("runtime/src/metrics.rs");
    let mut expressions = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let name = expression.split("rpp_").nth(1).unwrap().split('{').next().unwrap();
            let name = name.trim_end_matches("_total").trim_end_matches("_bucket");
            assert!(metrics.contains(&format!("\"{name}\"")), "{name}");
            expressions += 1;
        }
    }
    assert!(expressions > 8);
}
