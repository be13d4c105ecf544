//! What killed copies leave in a folder. `object_store` writes a file as `<name>#<number>` beside its place and then
//! renames it, so a kill leaves the file with the number.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A file that was changed within this time may be one that another copy writes now.
const RESTS: Duration = Duration::from_secs(60 * 60);

/// Removes what killed copies left of files with these names in this folder. A failure is logged: it does not concern
/// the copy.
pub(super) async fn remove_leftovers(folder: PathBuf, names: &'static [&'static str]) {
    let shown = folder.display().to_string();
    let removed = tokio::task::spawn_blocking(move || remove(&folder, names, SystemTime::now())).await;
    if let Err(error) = removed.map_err(io::Error::other).and_then(|removed| removed) {
        tracing::warn!("what a killed copy left in {shown} cannot be removed: {error}");
    }
}

fn remove(folder: &Path, names: &[&str], now: SystemTime) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| is_leftover(name, names)) {
            continue;
        }
        match rests(&entry, now).and_then(|rests| if rests { fs::remove_file(entry.path()) } else { Ok(()) }) {
            // Its writer, or another copy, was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

fn is_leftover(file: &str, names: &[&str]) -> bool {
    let Some((name, number)) = file.rsplit_once('#') else { return false };
    names.contains(&name) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether it is a file that nobody has written for a while. Links are not followed.
fn rests(entry: &fs::DirEntry, now: SystemTime) -> io::Result<bool> {
    let metadata = entry.metadata()?;
    let age = now.duration_since(metadata.modified()?).unwrap_or_default();
    Ok(metadata.is_file() && age >= RESTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_files_of_the_names_with_a_number_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let kept = ["payload", "payload#", "payload#1a", "payload#-1", "other#1", "payload#1#2", "xpayload#1"];
        let gone = ["payload#1", "payload#23", "manifest.json#4"];
        for name in kept.iter().chain(&gone) {
            fs::write(at(name), "").unwrap();
        }
        fs::create_dir(at("payload#5")).unwrap();
        std::os::unix::fs::symlink(at("payload"), at("payload#6")).unwrap();
        let names = ["payload", "manifest.json"];
        let there = || {
            let mut there: Vec<_> =
                fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            there.sort();
            there
        };
        // Somebody may be writing them.
        let all = there();
        remove(folder.path(), &names, SystemTime::now()).unwrap();
        assert_eq!(there(), all);
        remove(folder.path(), &names, SystemTime::now() + RESTS).unwrap();
        let mut left: Vec<_> = kept.iter().chain(&["payload#5", "payload#6"]).map(std::ffi::OsString::from).collect();
        left.sort();
        assert_eq!(there(), left);
        remove(&at("absent"), &names, SystemTime::now()).unwrap();
    }
}
