//! The database's present or future content in memory: at most 256 sessions and 4,096 served ones, about 2 KB each.

use std::collections::BTreeMap;

use super::{Change, Rows, TABLES, Table};

/// A row; `None` if it was removed while the disk could not be read.
type Row = Option<Vec<u8>>;

/// All rows as they should be.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    rows: [BTreeMap<Vec<u8>, Row>; TABLES.len()],
    /// Whether the disk's content is included.
    whole: bool,
}

impl Mirror {
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn rows(&self, table: Table) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
        self.rows[table as usize].iter().filter_map(|(key, row)| Some((key, row.as_ref()?)))
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<&Vec<u8>> {
        self.rows[table as usize].get(key)?.as_ref()
    }

    /// Applies changes; returns the earlier rows, for [`Self::undo`].
    pub(super) fn apply(&mut self, changes: &[Change]) -> Vec<Option<Row>> {
        let put = |change: &Change| self.set(change.table, &change.key, Some(change.value.clone()));
        changes.iter().map(put).collect()
    }

    /// Undoes changes, unless something newer has replaced them.
    pub(super) fn undo(&mut self, changes: &[Change], before: Vec<Option<Row>>) {
        for (change, before) in changes.iter().zip(before) {
            if self.rows[change.table as usize].get(&change.key).unwrap_or(&None) == &change.value {
                self.set(change.table, &change.key, before);
            }
        }
    }

    /// A removed row is kept only while the disk's content is unknown.
    fn set(&mut self, table: Table, key: &[u8], row: Option<Row>) -> Option<Row> {
        let rows = &mut self.rows[table as usize];
        match row {
            None => rows.remove(key),
            Some(None) if self.whole => rows.remove(key),
            Some(row) => rows.insert(key.to_vec(), row),
        }
    }

    /// The changes that bring the disk to the wanted state.
    pub(super) fn reconcile(&self, disk: &Rows, tables: [Table; TABLES.len()]) -> Vec<Change> {
        let mut changes = Vec::new();
        for table in tables {
            let (wanted, there) = (&self.rows[table as usize], &disk[table as usize]);
            for (key, row) in wanted.iter().filter(|(key, row)| there.get(*key) != row.as_ref()) {
                changes.push(Change { table, key: key.clone(), value: row.clone() });
            }
            // Other rows on the disk were removed here, or are not known yet.
            for key in there.keys().filter(|key| self.whole && !wanted.contains_key(*key)) {
                changes.push(Change { table, key: key.clone(), value: None });
            }
        }
        changes
    }

    /// Includes the disk's content, after `changes` were made to it.
    pub(super) fn take_up(&mut self, disk: Rows, changes: &[Change], tables: [Table; TABLES.len()]) {
        if self.whole {
            return;
        }
        for (table, rows) in tables.into_iter().zip(disk) {
            self.rows[table as usize] = rows.into_iter().map(|(key, value)| (key, Some(value))).collect();
        }
        self.whole = true;
        let _ = self.apply(changes);
    }

    /// Removes rows of one table whose key the other one lacks; none while the disk's content is unknown.
    pub(super) fn orphans(&self, table: Table, of: Table) -> Vec<Change> {
        let parents = &self.rows[of as usize];
        let lone = self.rows[table as usize].keys().filter(|key| self.whole && !parents.contains_key(*key));
        lone.map(|key| Change { table, key: key.clone(), value: None }).collect()
    }
}
