//! The database after a failed write. A full disk would cause it; here the call that a failed flush makes causes it.

use super::*;

fn db(folder: &Path) -> (Db, Arc<Writable>) {
    let writable = Arc::new(Writable::new());
    (Db::open(folder, Durability::Strict, Arc::clone(&writable)).unwrap().0, writable)
}

fn row(key: u8, value: u8) -> Change {
    Change { table: Table::Served, key: vec![key], value: Some(vec![value]) }
}

/// What sled does after a failed flush: nothing works any more.
fn break_it(db: &Db) {
    let engine = db.inner.look().ok().unwrap();
    db.inner.close(&engine, io::Error::from_raw_os_error(28).into());
}

/// It is time for the next try.
fn make_due(db: &Db) {
    let failed = EngineState::Failed { reason: DbFault::Closed, next: Instant::now() };
    *db.inner.state.write().unwrap() = failed;
}

fn on_disk(folder: &Path) -> Rows {
    Engine::open(folder, Durability::Process, LOCK_PATIENCE).unwrap().0.rows().unwrap()
}

#[test]
fn after_a_failed_write_it_is_opened_anew_and_has_what_was_promised() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("sessions");
    let (db, writable) = db(&folder);
    let said = writable.watch();
    db.inner.write(&[row(1, 1)], IfUnwritten::IsUndone).unwrap();
    break_it(&db);
    let text = said.borrow().clone().unwrap();
    assert!(text.contains("cannot write the session database"), "{text}");
    // The next write opens it.
    db.inner.write(&[row(2, 2)], IfUnwritten::IsUndone).unwrap();
    assert_eq!(*said.borrow(), None);
    // Or `tend` opens it.
    break_it(&db);
    assert!(db.tend().is_none(), "nothing of the disk was unknown");
    assert_eq!(*said.borrow(), None);
    drop(db);
    assert_eq!(on_disk(&folder)[2], [(vec![1], vec![1]), (vec![2], vec![2])].into());
}

#[test]
fn what_failed_is_undone_or_written_later_as_its_caller_was_told() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("sessions");
    let (db, _) = db(&folder);
    db.inner.write(&[row(1, 1), row(2, 1), row(3, 1)], IfUnwritten::IsUndone).unwrap();
    // It cannot be opened, because a file has its path.
    let aside = temp.path().join("aside");
    break_it(&db);
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    assert!(db.inner.write(&[row(1, 9), row(4, 9)], IfUnwritten::IsUndone).is_err());
    assert!(db.inner.write(&[row(2, 5)], IfUnwritten::Holds).is_err());
    let gone = Change { value: None, ..row(3, 0) };
    assert!(db.inner.write(&[gone], IfUnwritten::Holds).is_err());
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    make_due(&db);
    db.flush().unwrap();
    drop(db);
    assert_eq!(on_disk(&folder)[2], [(vec![1], vec![1]), (vec![2], vec![5])].into());
}

#[test]
fn a_start_without_the_database_takes_up_what_it_has_later() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("sessions");
    let (first, _) = db(&folder);
    first.inner.write(&[row(1, 1), row(2, 1), row(3, 1)], IfUnwritten::IsUndone).unwrap();
    drop(first);
    let aside = temp.path().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    let (db, writable) = db(&folder);
    assert!(!db.is_taken_up() && writable.is_failed(Part::Database));
    assert!(db.inner.write(&[row(2, 7)], IfUnwritten::Holds).is_err());
    assert!(db.inner.write(&[Change { value: None, ..row(3, 0) }], IfUnwritten::Holds).is_err());
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    make_due(&db);
    assert!(db.tend().is_some_and(|notices| notices.is_empty()));
    assert!(db.is_taken_up() && !writable.is_failed(Part::Database));
    drop(db);
    assert_eq!(on_disk(&folder)[2], [(vec![1], vec![1]), (vec![2], vec![7])].into());
}

#[test]
fn a_flush_that_never_ends_does_not_keep_it_closed() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("sessions");
    let (db, _) = db(&folder);
    db.inner.write(&[row(1, 1)], IfUnwritten::IsUndone).unwrap();
    // Something still uses the failed one.
    let held = db.inner.look().ok().unwrap();
    break_it(&db);
    db.inner.write(&[row(2, 2)], IfUnwritten::IsUndone).unwrap();
    drop(db);
    drop(held);
    assert_eq!(on_disk(&folder)[2], [(vec![1], vec![1]), (vec![2], vec![2])].into());
    let left = std::fs::read_dir(temp.path()).unwrap().count();
    assert_eq!(left, 1, "nothing of the failed one stays");
}
