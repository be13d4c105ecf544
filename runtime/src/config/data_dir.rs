//! Checks whether a node could start with its data folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Config, ConfigError};

impl Config {
    /// Checks that `data_dir` is a folder that can be written, or that it can be created. To find out, this creates an
    /// empty folder in it, or in the folder where it would be, and removes that again.
    ///
    /// # Errors
    /// A node would not start with this folder. The message says why.
    pub fn check_data_dir(&self) -> Result<(), ConfigError> {
        let path = self.data_dir.as_path();
        let refused = |reason: String| ConfigError::Conflict {
            key: "data_dir",
            message: format!(
                "names {}, {reason}: name a folder of this user, or a path where one can be made",
                path.display()
            ),
        };
        match fs::metadata(path) {
            Ok(there) if !there.is_dir() => Err(refused("which is not a folder".to_owned())),
            Ok(_) => is_writable(path)
                .map_err(|(what, error)| refused(format!("in which {} cannot be written ({error})", what.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = path.ancestors().skip(1).find(|parent| parent.exists()).unwrap_or(Path::new("/"));
                takes_a_folder(parent)
                    .map_err(|error| refused(format!("which cannot be made in {} ({error})", parent.display())))
            }
            Err(error) => Err(refused(format!("which cannot be reached ({error})"))),
        }
    }
}

/// Whether the lock can be opened for writing, or created if there is none: a node does that first.
/// The error comes with the path that failed.
fn is_writable(folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    let lock = folder.join("lock");
    match fs::File::options().write(true).open(&lock) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => takes_a_folder(folder).map_err(|error| (lock, error)),
        opened => opened.map(drop).map_err(|error| (lock, error)),
    }
}

/// Whether an entry can be created in the folder.
fn takes_a_folder(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".rpp-node-check-{}", std::process::id()));
    match fs::create_dir(&probe) {
        // A check that was killed has left it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    fs::remove_dir(&probe)
}
