//! Whether a node could start with its data folder.

use std::{fs, io, path::Path};

use super::{Config, ConfigError};

impl Config {
    /// Checks that `data_dir` is a folder that can be written, or that it can be made. For that a temporary entry is made where
    /// it would be, and removed.
    ///
    /// # Errors
    /// A node would not start with it. The message says why.
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
            Ok(_) => is_writable(path).map_err(|error| refused(format!("which cannot be written ({error})"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = path.ancestors().skip(1).find(|parent| parent.exists()).unwrap_or(Path::new("/"));
                takes_a_folder(parent)
                    .map_err(|error| refused(format!("which cannot be made in {} ({error})", parent.display())))
            }
            Err(error) => Err(refused(format!("which cannot be reached ({error})"))),
        }
    }
}

/// A node opens the lock in it for writing, and makes that first if there is none.
fn is_writable(folder: &Path) -> io::Result<()> {
    match fs::File::options().write(true).open(folder.join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => takes_a_folder(folder),
        opened => opened.map(drop),
    }
}

/// Whether something can be made in the folder.
fn takes_a_folder(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".rpp-node-check-{}", std::process::id()));
    match fs::create_dir(&probe) {
        // Left by a check that was killed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    fs::remove_dir(&probe)
}
