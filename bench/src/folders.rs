//! A folder of many small files: published beside `tar | b3sum`, unpacked beside `tar x`.
//!
//! Unpacked files stay until the end: ext4 without a journal creates files many times slower for minutes after others
//! were removed.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use crate::{Options, cases::binaries, node::Folder, report::Report};

const FILE: usize = 4096;
/// Files in one folder.
const IN_A_FOLDER: u64 = 1000;

pub(crate) fn run(options: &Options, files: u64) -> Result<()> {
    let columns = ["s", "peak MiB"];
    let mut report = Report::new(options, format!("folders: {files} files of 4 KiB, in the page cache"), &columns);
    let place = tempfile::tempdir_in(&options.dir)?;
    let folder = place.path().join("folder");
    make_folder(&folder, files)?;
    let archive = place.path().join("archive.tar");
    ensure!(shell("tar -C \"$1\" -cf \"$2\" .", &folder, &archive)?.1, "tar is missing");
    let publishers: Vec<_> = binaries(options)
        .into_iter()
        .map(|(name, binary)| Ok((name, Folder::make(binary, place.path().join(name), None)?)))
        .collect::<Result<_>>()?;
    let mut roots = Vec::new();
    let mut made = 0;
    let mut out = || {
        made += 1;
        place.path().join(format!("out-{made}"))
    };
    for repetition in 1..=options.repetitions as u64 {
        // Every publish has new content, so no result of an earlier one can be used.
        fs::write(folder.join("repetition"), repetition.to_le_bytes())?;
        for (name, publisher) in &publishers {
            let published = publisher.publish(&folder, repetition)?;
            report.add(
                &format!("{name} publish, without the proof"),
                vec![published.stored.as_secs_f64(), published.peak_mib],
            );
            roots.push(published.answer["root"].as_str().context("no root")?.to_owned());
        }
        let (seconds, done) = shell("tar -C \"$1\" -cf - . | b3sum > \"$2\"", &folder, &out())?;
        ensure!(done, "tar or b3sum is missing");
        report.add("tar | b3sum", vec![seconds, f64::NAN]);
        for ((name, publisher), root) in publishers.iter().zip(roots.drain(..)) {
            let begun = Instant::now();
            let mut command = publisher.command("unpack");
            let status = command.arg("--json").arg(root).arg(out()).stdout(Stdio::null()).status()?;
            ensure!(status.success(), "unpack failed: {status}");
            report.add(&format!("{name} unpack"), vec![begun.elapsed().as_secs_f64(), f64::NAN]);
        }
        for (name, script) in [
            ("tar x", "mkdir \"$2\" && tar -C \"$2\" -xf \"$1\""),
            ("tar x, made durable", "mkdir \"$2\" && tar -C \"$2\" -xf \"$1\" && sync -f \"$2\""),
        ] {
            let (seconds, done) = shell(script, &archive, &out())?;
            ensure!(done, "tar failed");
            report.add(name, vec![seconds, f64::NAN]);
        }
    }
    report.print(options);
    Ok(())
}

fn make_folder(folder: &Path, files: u64) -> Result<()> {
    let mut noise = blake3::Hasher::new_derive_key("rpp bench folders").finalize_xof();
    let mut content = [0; FILE];
    for file in 0..files {
        let parent = folder.join(format!("part-{:04}", file / IN_A_FOLDER));
        if file % IN_A_FOLDER == 0 {
            fs::create_dir_all(&parent)?;
        }
        noise.fill(&mut content);
        fs::write(parent.join(format!("file-{file:07}")), content)?;
    }
    Ok(())
}

/// Seconds, and whether it succeeded.
fn shell(script: &str, one: &Path, other: &Path) -> Result<(f64, bool)> {
    let begun = Instant::now();
    let status = Command::new("sh").args(["-c", script, "sh"]).arg(one).arg(other).status()?;
    Ok((begun.elapsed().as_secs_f64(), status.success()))
}
