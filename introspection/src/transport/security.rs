//! TLS 1.3 or Noise, whichever the peer supports. TLS first, because it is faster on machines with AES instructions.

use std::{array, sync::Arc};

use futures::{AsyncRead, AsyncWrite, FutureExt as _, TryFutureExt as _, future::BoxFuture, future::Either};
use libp2p::{
    PeerId,
    core::{
        UpgradeInfo,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
    },
    identity::Keypair,
    noise,
};
use rpp_p2p::transport::{Tls, TlsError, TlsStream};

use super::{TransportResult, notes::note_encryption};

const TLS: &str = "/tls/1.0.0";
const NOISE: &str = "/noise";

/// Authenticates a connection and notes with which protocol.
#[derive(Clone)]
pub(super) struct Secure {
    tls: Tls,
    noise: Arc<noise::Config>,
}

/// Why a connection could not be secured. The peer or the line is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum SecureError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Noise(#[from] noise::Error),
}

impl Secure {
    pub(super) fn new(keypair: &Keypair) -> TransportResult<Self> {
        Ok(Self { tls: Tls::new(keypair)?, noise: Arc::new(noise::Config::new(keypair)?) })
    }
}

impl UpgradeInfo for Secure {
    type Info = &'static str;
    type InfoIter = array::IntoIter<&'static str, 2>;

    fn protocol_info(&self) -> Self::InfoIter {
        [TLS, NOISE].into_iter()
    }
}

type Secured<C> = (PeerId, Either<TlsStream<C>, noise::Output<C>>);
type Securing<C> = BoxFuture<'static, Result<Secured<C>, SecureError>>;

impl<C> InboundConnectionUpgrade<C> for Secure
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Secured<C>;
    type Error = SecureError;
    type Future = Securing<C>;

    fn upgrade_inbound(self, socket: C, info: &'static str) -> Self::Future {
        note_encryption(info);
        if info == TLS {
            let upgrade = self.tls.upgrade_inbound(socket, info);
            upgrade.map_ok(|(peer, stream)| (peer, Either::Left(stream))).map_err(SecureError::from).boxed()
        } else {
            let upgrade = noise::Config::clone(&self.noise).upgrade_inbound(socket, info);
            upgrade.map_ok(|(peer, stream)| (peer, Either::Right(stream))).map_err(SecureError::from).boxed()
        }
    }
}

impl<C> OutboundConnectionUpgrade<C> for Secure
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Secured<C>;
    type Error = SecureError;
    type Future = Securing<C>;

    fn upgrade_outbound(self, socket: C, info: &'static str) -> Self::Future {
        note_encryption(info);
        if info == TLS {
            let upgrade = self.tls.upgrade_outbound(socket, info);
            upgrade.map_ok(|(peer, stream)| (peer, Either::Left(stream))).map_err(SecureError::from).boxed()
        } else {
            let upgrade = noise::Config::clone(&self.noise).upgrade_outbound(socket, info);
            upgrade.map_ok(|(peer, stream)| (peer, Either::Right(stream))).map_err(SecureError::from).boxed()
        }
    }
}
