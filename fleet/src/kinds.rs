//! Kinds of nodes and edges, with their names on the wire and in the database.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A kind that this version does not know; kept as it is.
            Other(Box<str>),
        }

        impl $name {
            /// All kinds that have a name of their own.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The name on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                    Self::Other(name) => name,
                }
            }

            /// The name in the database, as peeps stores it.
            #[must_use]
            pub fn snake_case(&self) -> String {
                snake_case(self.as_str())
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                match name {
                    $(stringify!($variant) => Self::$variant,)*
                    other => Self::Other(other.into()),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Cow::<'de, str>::deserialize(deserializer)?.as_ref().into())
            }
        }
    };
}

kinds! {
    /// The kind of a node.
    NodeKind {
        /// A task or future; our sessions are these.
        Future,
        /// A mutex or read-write lock.
        Lock,
        /// The sending end of a channel; our queues are these.
        Tx,
        /// The receiving end of a channel.
        Rx,
        /// The sending end of a channel that crosses processes.
        RemoteTx,
        /// The receiving end of a channel that crosses processes.
        RemoteRx,
        /// A request that was sent and is not answered yet.
        Request,
        /// A request that was received and is being answered.
        Response,
        /// A set of tasks.
        JoinSet,
        /// A semaphore.
        Semaphore,
        /// A cell that is filled once.
        OnceCell,
        /// A child process, or a job on a blocking thread.
        Command,
        /// An operation on a file.
        FileOp,
        /// A notification.
        Notify,
        /// A timer that fires once.
        Sleep,
        /// A timer that fires again and again.
        Interval,
        /// A time limit for something else.
        Timeout,
        /// A connection that this process is making or has made.
        NetConnect,
        /// A connection that this process is accepting or has accepted.
        NetAccept,
        /// A wait for bytes to read.
        NetReadable,
        /// A wait until bytes can be written.
        NetWritable,
    }
}

kinds! {
    /// How two nodes are related.
    EdgeKind {
        /// The source cannot go on before the destination does.
        Needs,
        /// The source uses the destination.
        Touches,
        /// The source started the destination.
        Spawned,
        /// The source was closed by the destination.
        ClosedBy,
    }
}

/// `NetConnect` -> `net_connect`; a run of capitals is one word. Two names are one word each, as peeps stores them.
fn snake_case(name: &str) -> String {
    if matches!(name, "JoinSet" | "OnceCell") {
        return name.to_ascii_lowercase();
    }
    let mut out = String::with_capacity(name.len() + 4);
    let mut previous: Option<char> = None;
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        let word_ends = previous.is_some_and(|p| p.is_ascii_lowercase() || p.is_ascii_digit());
        let run_ends =
            previous.is_some_and(|p| p.is_ascii_uppercase()) && chars.peek().is_some_and(char::is_ascii_lowercase);
        if c.is_ascii_uppercase() && (word_ends || run_ends) {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        previous = Some(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_wire_and_in_the_database() {
        let wire: Vec<&str> = NodeKind::ALL.iter().map(NodeKind::as_str).collect();
        assert_eq!(
            wire.join(" "),
            "Future Lock Tx Rx RemoteTx RemoteRx Request Response JoinSet Semaphore OnceCell Command FileOp Notify \
             Sleep Interval Timeout NetConnect NetAccept NetReadable NetWritable"
        );
        let stored: Vec<String> = NodeKind::ALL.iter().map(NodeKind::snake_case).collect();
        assert_eq!(
            stored.join(" "),
            "future lock tx rx remote_tx remote_rx request response joinset semaphore oncecell command file_op \
             notify sleep interval timeout net_connect net_accept net_readable net_writable"
        );
        let edges: Vec<String> = EdgeKind::ALL.iter().map(EdgeKind::snake_case).collect();
        assert_eq!(edges.join(" "), "needs touches spawned closed_by");
        for kind in NodeKind::ALL {
            assert_eq!(&NodeKind::from(kind.as_str()), kind);
        }
    }

    #[test]
    fn unknown_kinds_are_kept() {
        let kind: NodeKind = serde_json::from_str("\"HTTPProxy2Pool\"").unwrap();
        assert_eq!(serde_json::to_string(&kind).unwrap(), "\"HTTPProxy2Pool\"");
        assert_eq!(kind.snake_case(), "http_proxy2_pool");
        assert_eq!(EdgeKind::from("already_snake").snake_case(), "already_snake");
    }
}
