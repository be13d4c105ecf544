//! Fleet cuts: graph registry, reporting client and collector
