//! Makes a directory to publish, and compares it with what arrived.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use rand::{RngCore as _, SeedableRng as _, rngs::SmallRng};

/// Largest generated file; sizes vary below.
const MAX_FILE: u64 = 4 << 20;

/// The contents of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) files: u64,
    pub(super) folders: u64,
    pub(super) links: u64,
    pub(super) bytes: u64,
}

/// Fills `folder` with random files of about `bytes` in all, in sub-folders. One file is executable, and there is one
/// symlink.
pub(super) fn generate(folder: &Path, bytes: u64) -> io::Result<()> {
    let mut random = SmallRng::from_os_rng();
    fs::create_dir(folder)?;
    let (mut left, mut count) = (bytes, 0_u64);
    while left > 0 {
        let shelf = folder.join(format!("shelf-{:02}", count % 8));
        fs::create_dir_all(&shelf)?;
        let size = (random.next_u64() % MAX_FILE + 1).min(left);
        write_random(&shelf.join(format!("file-{count:04}.bin")), size, &mut random)?;
        left -= size;
        count += 1;
    }
    fs::write(folder.join("empty"), b"")?;
    let script = folder.join("run.sh");
    fs::write(&script, b"#!/bin/sh\necho streamed\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    symlink("shelf-00/file-0000.bin", folder.join("newest"))
}

fn write_random(path: &Path, size: u64, random: &mut SmallRng) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    let mut block = vec![0; 1 << 16];
    let mut left = size;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        random.fill_bytes(&mut block[..part]);
        file.write_all(&block[..part])?;
        left -= part as u64;
    }
    Ok(())
}

/// Counts the contents of a directory.
pub(super) fn summarise(folder: &Path) -> anyhow::Result<Summary> {
    let mut summary = Summary::default();
    for path in walk(folder)? {
        let kind = fs::symlink_metadata(folder.join(&path))?;
        match () {
            () if kind.is_dir() => summary.folders += 1,
            () if kind.is_symlink() => summary.links += 1,
            () => {
                summary.files += 1;
                summary.bytes += kind.len();
            }
        }
    }
    Ok(summary)
}

/// Compares two directories: names, kinds, link targets, whether the owner may execute, and every byte.
pub(super) fn compare(left: &Path, right: &Path) -> anyhow::Result<Summary> {
    let names = walk(left)?;
    if names != walk(right)? {
        bail!("{} and {} do not hold the same names", left.display(), right.display());
    }
    for name in &names {
        let (a, b) = (left.join(name), right.join(name));
        if !same(&a, &b).with_context(|| format!("cannot compare {}", name.display()))? {
            bail!("{} and {} differ", a.display(), b.display());
        }
    }
    summarise(left)
}

fn same(a: &Path, b: &Path) -> io::Result<bool> {
    let (left, right) = (fs::symlink_metadata(a)?, fs::symlink_metadata(b)?);
    if left.file_type() != right.file_type() {
        return Ok(false);
    }
    if left.is_symlink() {
        return Ok(fs::read_link(a)? == fs::read_link(b)?);
    }
    if left.is_dir() {
        return Ok(true);
    }
    let executable = |mode: u32| mode & 0o100 != 0;
    Ok(left.len() == right.len()
        && executable(left.permissions().mode()) == executable(right.permissions().mode())
        && same_bytes(File::open(a)?, File::open(b)?)?)
}

fn same_bytes(a: impl Read, b: impl Read) -> io::Result<bool> {
    let (mut a, mut b) = (BufReader::with_capacity(1 << 16, a), BufReader::with_capacity(1 << 16, b));
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = a.read(&mut left)?;
        if count == 0 {
            return Ok(b.read(&mut right)? == 0);
        }
        match b.read_exact(&mut right[..count]) {
            Ok(()) if left[..count] == right[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Everything below `folder`, relative and sorted; symlinks are not followed.
fn walk(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inside) = open.pop() {
        let place = folder.join(&inside);
        for entry in fs::read_dir(&place).with_context(|| format!("cannot read {}", place.display()))? {
            let entry = entry?;
            let name = inside.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push(name.clone());
            }
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_directory_equals_its_copy_until_one_bit_differs() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        generate(&a, 3 << 20).unwrap();
        assert!(std::process::Command::new("cp").arg("-a").args([&a, &b]).status().unwrap().success());
        let summary = compare(&a, &b).unwrap();
        assert!(summary.bytes >= 3 << 20 && summary.links == 1);
        let victim = b.join("shelf-00/file-0000.bin");
        let mut bytes = fs::read(&victim).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&victim, bytes).unwrap();
        assert!(compare(&a, &b).is_err());
    }

    #[test]
    fn missing_names_other_targets_and_modes_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        for place in [&a, &b] {
            fs::create_dir(place).unwrap();
            fs::write(place.join("x"), "1").unwrap();
        }
        compare(&a, &b).unwrap();
        fs::set_permissions(b.join("x"), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(compare(&a, &b).is_err());
        fs::remove_file(b.join("x")).unwrap();
        assert!(compare(&a, &b).is_err());
        symlink("y", b.join("x")).unwrap();
        assert!(compare(&a, &b).is_err());
    }
}
