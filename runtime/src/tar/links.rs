//! Decides whether a symlink can lead only to places in its own tree.
//!
//! Some targets are judged by their text: those that begin with `..` at most as often as their folder is deep, followed
//! only by names. Each name can only lead further down, or through another link, which is judged itself. If a `..`
//! follows a name, its effect depends on what that name is. Such a target is followed through the tree, as the kernel
//! would do it.

use std::{collections::VecDeque, os::fd::AsFd};

use rustix::fs::readlinkat;

use crate::limits::MAX_LINKS;

pub(crate) const ABSOLUTE: &str = "its target is absolute";
pub(crate) const OUTSIDE: &str = "its target leads outside";

/// The verdict on the text of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// It stays inside whatever its names are.
    Inside,
    /// It depends on what the names are; [`walk`] decides.
    Depends,
}

/// Judges the text of a link's target. The link's folder is `depth` folders below the root.
pub(crate) fn text(target: &[u8], depth: usize) -> Result<Text, &'static str> {
    if target.is_empty() {
        return Err("its target is empty");
    }
    if target[0] == b'/' {
        return Err(ABSOLUTE);
    }
    let mut up = 0;
    let mut named = false;
    for part in parts(target) {
        match part {
            b".." if named => return Ok(Text::Depends),
            b".." => up += 1,
            _ => named = true,
        }
        if up > depth {
            return Err(OUTSIDE);
        }
    }
    Ok(Text::Inside)
}

/// Follows a target through the tree below `root`. `folder` is the path of the link's folder, which contains no link. A
/// name that does not exist counts as a folder.
pub(crate) fn walk(root: impl AsFd, folder: &[u8], target: &[u8]) -> Result<(), &'static str> {
    let mut here: Vec<Vec<u8>> = parts(folder).map(<[u8]>::to_vec).collect();
    let mut ahead: VecDeque<Vec<u8>> = parts(target).map(<[u8]>::to_vec).collect();
    let mut followed = 0;
    while let Some(part) = ahead.pop_front() {
        if part == b".." {
            here.pop().ok_or(OUTSIDE)?;
            continue;
        }
        here.push(part);
        // The kind of the last name does not matter: if it is a link, it is judged itself.
        if ahead.is_empty() {
            break;
        }
        let Ok(through) = readlinkat(&root, here.join(&b'/'), Vec::new()) else { continue };
        followed += 1;
        if followed > MAX_LINKS {
            return Err("its target leads through more than 40 links");
        }
        let through = through.as_bytes();
        if through.first() == Some(&b'/') {
            return Err("its target leads through an absolute link");
        }
        here.pop();
        for part in parts(through).rev() {
            ahead.push_front(part.to_vec());
        }
    }
    Ok(())
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_target_is_judged_by_its_text_where_that_is_enough() {
        for (target, depth) in [("a", 0), ("./a/b", 0), ("..", 1), ("../../x", 2), (".././a", 1), ("a//b/", 0)] {
            assert_eq!(text(target.as_bytes(), depth), Ok(Text::Inside), "{target}");
        }
        for (target, depth) in [("a/..", 0), ("../bin/../lib", 1), ("a/../../x", 0)] {
            assert_eq!(text(target.as_bytes(), depth), Ok(Text::Depends), "{target}");
        }
        for (target, depth) in [("", 0), ("/a", 3), ("..", 0), ("../..", 1), ("./../../a", 1)] {
            assert!(text(target.as_bytes(), depth).is_err(), "{target}");
        }
    }

    #[test]
    fn a_target_is_walked_as_the_kernel_would() {
        let temp = tempfile::tempdir().unwrap();
        let at = |path: &str| temp.path().join(path);
        std::fs::create_dir_all(at("bin")).unwrap();
        std::fs::create_dir_all(at("deep/er/est")).unwrap();
        for (link, target) in [
            ("down", "deep/er"),
            ("bin/up", ".."),
            ("self", "self"),
            ("away", "/etc"),
            ("deep/er/out", "../../.."),
            ("chain", "down/est"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        let root = std::fs::File::open(temp.path()).unwrap();
        let judge = |folder: &str, target: &str| walk(&root, folder.as_bytes(), target.as_bytes());
        for (folder, target) in [
            ("bin", "../bin/../lib/tool"),
            ("", "bin/.."),
            // `down` is two folders deep, so two steps up are inside.
            ("", "down/../../x"),
            ("", "chain/../../../x"),
            ("bin", "up/bin/../x"),
            ("", "missing/../x"),
            ("", "a/../away"),
        ] {
            assert_eq!(judge(folder, target), Ok(()), "{folder}: {target}");
        }
        for (folder, target) in [
            ("", "bin/../.."),
            ("bin", "up/bin/../.."),
            ("", "bin/up/../x"),
            ("", "missing/../../x"),
            ("", "down/../../../x"),
            ("", "away/../x"),
            ("", "self/../x"),
            ("deep/er", "out/../x"),
        ] {
            assert!(judge(folder, target).is_err(), "{folder}: {target}");
        }
    }
}
