//! What the database holds, or will hold, in memory: at most 256 sessions and 4,096 served ones, some 2 KB each.

use std::collections::BTreeMap;

use super::{Change, Rows, TABLES, Table};

/// A row; `None` when it was removed while the disk could not be read.
type Row = Option<Vec<u8>>;

/// All rows, the wanted state.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    rows: [BTreeMap<Vec<u8>, Row>; TABLES.len()],
    /// What the disk had is in it.
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

    /// Takes changes in; returns what was there before, for [`Self::undo`].
    pub(super) fn apply(&mut self, changes: &[Change]) -> Vec<Option<Row>> {
        let put = |change: &Change| self.set(change.table, &change.key, Some(change.value.clone()));
        changes.iter().map(put).collect()
    }

    /// Takes changes out again, unless something newer came in their place.
    pub(super) fn undo(&mut self, changes: &[Change], before: Vec<Option<Row>>) {
        for (change, before) in changes.iter().zip(before) {
            if self.rows[change.table as usize].get(&change.key).unwrap_or(&None) == &change.value {
                self.set(change.table, &change.key, before);
            }
        }
    }

    /// A removed row is remembered only while what the disk has is not known.
    fn set(&mut self, table: Table, key: &[u8], row: Option<Row>) -> Option<Row> {
        let rows = &mut self.rows[table as usize];
        match row {
            None => rows.remove(key),
            Some(None) if self.whole => rows.remove(key),
            Some(row) => rows.insert(key.to_vec(), row),
        }
    }

    /// What must be written so that the disk has what it should.
    pub(super) fn reconcile(&self, disk: &Rows, tables: [Table; TABLES.len()]) -> Vec<Change> {
        let mut changes = Vec::new();
        for table in tables {
            let (wanted, there) = (&self.rows[table as usize], &disk[table as usize]);
            for (key, row) in wanted.iter().filter(|(key, row)| there.get(*key) != row.as_ref()) {
                changes.push(Change { table, key: key.clone(), value: row.clone() });
            }
            // What the disk has besides was removed here, or is not known yet.
            for key in there.keys().filter(|key| self.whole && !wanted.contains_key(*key)) {
                changes.push(Change { table, key: key.clone(), value: None });
            }
        }
        changes
    }

    /// Takes in what the disk has, after `changes` were made to it.
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

    /// Removes rows of one table that have none of the same key in the other; none while what the disk has is not known.
    pub(super) fn orphans(&self, table: Table, of: Table) -> Vec<Change> {
        let parents = &self.rows[of as usize];
        let lone = self.rows[table as usize].keys().filter(|key| self.whole && !parents.contains_key(*key));
        lone.map(|key| Change { table, key: key.clone(), value: None }).collect()
    }
}
