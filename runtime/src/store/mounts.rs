//! Checks that a finished payload can be moved into the store: a rename cannot cross mounts.

use std::{io, path::Path};

use super::{error::StoreError, space::Space};

/// The folders between which payloads move, below `snapshots/`.
const FOLDERS: [&str; 3] = ["store", "partial", "chain"];

/// Checks that payloads can move between the folders below `snapshots_dir`, including those that do not exist yet.
/// Changes nothing.
///
/// # Errors
/// [`StoreError::OtherMount`] names the folder that has a mount of its own.
pub fn check_mounts(snapshots_dir: &Path, space: &dyn Space) -> Result<(), StoreError> {
    let mount_of = |folder: &Path| {
        existing(folder, space).map_err(|source| StoreError::Io {
            doing: "look at the mount of",
            path: folder.to_owned(),
            source,
        })
    };
    let common = mount_of(snapshots_dir)?;
    for name in FOLDERS {
        let folder = snapshots_dir.join(name);
        if mount_of(&folder)? != common {
            return Err(StoreError::OtherMount { folder, snapshots: snapshots_dir.to_owned() });
        }
    }
    Ok(())
}

/// The mount of a folder, or of the place where it will be created.
fn existing(folder: &Path, space: &dyn Space) -> io::Result<super::space::Mount> {
    match (space.mount_of(folder), folder.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            existing(if parent.as_os_str().is_empty() { Path::new(".") } else { parent }, space)
        }
        (found, _) => found,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::{DiskSpace, Mount, Store};

    /// A disk on which one folder is a mount of its own.
    #[derive(Debug)]
    struct Mounted(PathBuf);

    impl Space for Mounted {
        fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
            DiskSpace.free_bytes(folder)
        }

        fn mount_of(&self, folder: &Path) -> io::Result<Mount> {
            let Mount { device, id } = DiskSpace.mount_of(folder)?;
            Ok(Mount { device: device + u64::from(folder == self.0), id })
        }
    }

    #[test]
    fn a_folder_with_a_mount_of_its_own_is_named_before_any_work() {
        for name in FOLDERS {
            let temp = tempfile::tempdir().unwrap();
            let snapshots = temp.path().join("snapshots");
            // Nothing exists yet: it will be created on the same mount.
            check_mounts(&snapshots, &DiskSpace).unwrap();
            let folder = snapshots.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            check_mounts(&snapshots, &DiskSpace).unwrap();
            let space = std::sync::Arc::new(Mounted(folder.clone()));
            let error = Store::open_with(&snapshots, space).unwrap_err();
            assert!(matches!(&error, StoreError::OtherMount { folder: named, .. } if *named == folder), "{error}");
            let text = error.to_string();
            assert!(text.contains(&folder.display().to_string()) && text.contains("mount"), "{text}");
            assert_eq!(std::fs::read_dir(&snapshots).unwrap().count(), 1, "nothing was made");
        }
    }
}
