//! Checks what the pages say about names and files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::harness::repository;

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// Every text file of the repository: sources, pages, scripts and configurations.
fn texts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            if (!name.starts_with('.') || name == ".ci") && name != "target" && name != "node_modules" {
                texts(&path, found);
            }
        } else if fs::read_to_string(&path).is_ok() {
            found.push(path);
        }
    }
}

fn pages(found: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    found.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"))
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut found = Vec::new();
    texts(repository(), &mut found);
    assert!(pages(&found).count() > 20);
    for path in pages(&found) {
        let text = fs::read_to_string(path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if file.is_empty() || target.contains("://") {
                continue;
            }
            assert!(path.parent().unwrap().join(file).exists(), "{}: {target}", path.display());
        }
    }
}

/// The part of a line that people read: the whole line of a page, the comment of any other file.
fn said<'t>(path: &Path, line: &'t str) -> &'t str {
    let sign = match path.extension().and_then(|extension| extension.to_str()) {
        Some("md") => return line,
        Some("rs" | "c" | "js" | "mjs" | "ts" | "proto") => "//",
        _ => "#",
    };
    line.find(sign).map_or("", |at| &line[at..])
}

#[test]
fn no_page_or_comment_cites_a_page_that_is_not_here() {
    let mut found = Vec::new();
    texts(repository(), &mut found);
    let mut cited = 0;
    for path in &found {
        let text = fs::read_to_string(path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let part_of_a_path = |c: char| c.is_ascii_alphanumeric() || "._-/:~".contains(c);
            let words = said(path, line).split(|c| !part_of_a_path(c)).map(|word| word.trim_end_matches(['.', ':']));
            for page in words.filter(|word| word.ends_with(".md") && word.len() > 3 && !word.contains("//")) {
                let beside = path.parent().unwrap().join(page);
                let place = path.strip_prefix(repository()).unwrap().display();
                assert!(beside.exists() || repository().join(page).exists(), "{place}:{}: {page}", number + 1);
                cited += 1;
            }
        }
    }
    assert!(cited > 40, "{cited}");
}

#[test]
fn every_document_is_in_the_index() {
    let index = read("docs/README.md");
    let mut found = Vec::new();
    texts(&repository().join("docs"), &mut found);
    assert!(found.len() > 10);
    for path in pages(&found) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name == "README.md" || index.contains(&format!("({name})")), "{name}");
    }
}

#[test]
fn troubleshooting_has_a_place_for_every_word_of_the_status_and_for_no_other() {
    let description: Value = serde_json::from_str(&read("rpc/src/openapi.json")).unwrap();
    let schemas = &description["components"]["schemas"];
    let mut words = Vec::new();
    for list in [&schemas["WaitingOn"]["properties"]["what"]["enum"], &schemas["ErrorCode"]["enum"]] {
        words.extend(list.as_array().unwrap().iter().filter_map(Value::as_str));
    }
    assert_eq!(words.len(), 22);
    let text = read("docs/troubleshooting.md");
    let mut explained: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    words.sort_unstable(); // `proof` is there twice: as a wait and as an error code
    explained.sort_unstable();
    assert_eq!(explained, words);
}

/// These packages list their test programs in the manifest. A test file that no program includes would never run.
#[test]
fn every_file_of_tests_is_part_of_a_test_target() {
    for package in ["fleet", "p2p", "proofs", "rpc"] {
        let manifest: toml::Table = read(&format!("{package}/Cargo.toml")).parse().unwrap();
        assert_eq!(manifest["package"]["autotests"].as_bool(), Some(false), "{package}");
        let roots: BTreeSet<String> = manifest["test"]
            .as_array()
            .unwrap()
            .iter()
            .map(|target| target["name"].as_str().unwrap().to_owned())
            .collect();
        let named: String = roots.iter().map(|root| read(&format!("{package}/tests/{root}.rs"))).collect();
        let folder = repository().join(package).join("tests");
        for entry in fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let Some(name) = name.strip_suffix(".rs") else { continue };
            assert!(roots.contains(name) || named.contains(&format!("\nmod {name};\n")), "{package}/tests/{name}.rs");
        }
    }
}

/// cargo silently ignores a patch that no longer fits the version that libp2p requires.
#[test]
fn the_timers_of_the_workspace_are_those_in_use() {
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let timers: Vec<_> = packages.iter().filter(|package| package["name"].as_str() == Some("futures-timer")).collect();
    assert!(matches!(&timers[..], [one] if one.get("source").is_none()), "{timers:?}");
}

/// Only the manifest names the minimum version of Rust.
#[test]
fn no_page_names_a_version_of_rust() {
    let mut found = Vec::new();
    texts(repository(), &mut found);
    for path in pages(&found) {
        let text = fs::read_to_string(path).unwrap();
        assert!(!text.contains("Rust 1.") && !text.contains("rustc 1."), "{}", path.display());
    }
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
    let metrics: String = [
        "metrics.rs",
        "metrics/sessions.rs",
        "bans/metrics.rs",
        "discovery/metrics.rs",
        "rates/metrics.rs",
        "sources/metrics.rs",
    ]
    .iter()
    .map(|file| read(&format!("runtime/src/{file}")))
    .collect();
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

#[test]
fn troubleshooting_has_a_row_for_every_alert_and_each_is_tested() {
    let (alerts, tests, text) =
        (read("config/alerts.yml"), read("config/alerts.test.yml"), read("docs/troubleshooting.md"));
    let named: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(named.len() > 10);
    for alert in &named {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
    }
    let rows = text.split("## By alert\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let explained: Vec<_> = rows.split('`').filter(|word| word.starts_with("Rpp")).collect();
    assert_eq!(explained, named);
}

/// The names of the types that a source file defines outside of its tests.
fn types(source: &str) -> impl Iterator<Item = &str> {
    // A `mod tests;` at the top only names another file; the code after it is not tests.
    let is_inline = |at: &usize| source[*at..].lines().nth(2).is_some_and(|line| line.ends_with('{'));
    let tests = source.match_indices("\n#[cfg(test)]\nmod ").map(|(at, _)| at).find(is_inline);
    let code = &source[..tests.unwrap_or(source.len())];
    code.lines().filter_map(|line| {
        // An indented alias is an associated type of a trait.
        let is_inner = line.starts_with(' ');
        let line = line.trim_start().trim_start_matches("pub ");
        let line = line.strip_prefix("pub(").map_or(line, |rest| rest.split_once(") ").map_or(rest, |(_, rest)| rest));
        let keywords =
            if is_inner { &["struct ", "enum ", "trait "][..] } else { &["struct ", "enum ", "trait ", "type "] };
        let rest = keywords.iter().find_map(|keyword| line.strip_prefix(keyword))?;
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
    })
}

#[test]
fn no_type_name_means_two_things_in_one_crate() {
    for folder in ["common", "p2p", "proofs", "runtime", "rpc", "http", "introspection", "fleet", "."] {
        let (mut found, mut seen) = (Vec::new(), BTreeMap::new());
        texts(&repository().join(folder).join("src"), &mut found);
        found.retain(|path| path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs"));
        assert!(!found.is_empty());
        for path in &found {
            let source = fs::read_to_string(path).unwrap();
            for name in types(&source) {
                let before = seen.insert(name.to_owned(), path);
                assert!(before.is_none(), "{name} is in {} and in {}", before.unwrap().display(), path.display());
            }
        }
    }
}
