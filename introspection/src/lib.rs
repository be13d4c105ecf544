//! A node's live libp2p state over WebSocket
