//! libp2p's TLS (`/tls/1.0.0`), with AES preferred on processors that have AES instructions.
//!
//! On the wire it is libp2p's: certificates are made and checked by [`libp2p::tls::certificate`]. The stock upgrade prefers
//! ChaCha20 on every machine, which is several times slower than AES on those that have instructions for it. The dialer's
//! order decides, so a peer without these instructions gets ChaCha20 when it dials. Sessions are not resumed: a ticket
//! carries the identity of an earlier connection.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _, future::BoxFuture};
use futures_rustls::{TlsAcceptor, TlsConnector};
use libp2p::{
    PeerId,
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::Keypair,
    tls::certificate,
};
use rustls::{
    ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    SupportedCipherSuite,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            self,
            cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256},
        },
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

use super::Gathered;

const PROTOCOL: &str = "/tls/1.0.0";
const ALPN: &[u8] = b"libp2p";

/// libp2p's TLS with the fastest cipher first.
#[derive(Clone, Debug)]
pub struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// Why a connection could not be secured, or the configuration not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// This node's fault: no certificate for its identity.
    #[error("no certificate can be made for this identity")]
    Certificate(#[from] certificate::GenError),
    /// This node's fault: the certificate and its key do not fit rustls.
    #[error("the certificate cannot be used")]
    Configuration(#[from] rustls::Error),
    /// The peer's or the line's fault: the handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[from] io::Error),
    /// The peer's fault: its certificate does not say who it is.
    #[error("the peer's certificate is not one of libp2p")]
    Peer(#[from] certificate::ParseError),
    /// The peer's fault: it sent no certificate, or several.
    #[error("the peer did not send exactly one certificate")]
    NotOneCertificate,
}

impl Tls {
    /// Authenticates as `identity`, with a certificate of its own.
    ///
    /// # Errors
    /// [`TlsError::Certificate`] or [`TlsError::Configuration`].
    pub fn new(identity: &Keypair) -> Result<Self, TlsError> {
        Self::with_order(identity, has_aes())
    }

    fn with_order(identity: &Keypair, aes_first: bool) -> Result<Self, TlsError> {
        let (certificate, key) = certificate::generate(identity)?;
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = suites(aes_first);
        // The library gathers entropy for a while when the first random number is requested. Doing that here saves the
        // time in a handshake. A failure here would also fail there.
        let _ = provider.secure_random.fill(&mut [0]);
        let provider = Arc::new(provider);
        let own = own_certificate(&provider, certificate, key)?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(Libp2pCertificates))
            .with_cert_resolver(own.clone());
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Libp2pCertificates))
            .with_client_cert_resolver(own);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }
}

/// rustls refuses a certificate with extensions that it does not know, and libp2p's is one.
fn own_certificate(
    provider: &CryptoProvider,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<SingleCertAndKey>, rustls::Error> {
    let key = provider.key_provider.load_private_key(key)?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate], key).into()))
}

fn suites(aes_first: bool) -> Vec<SupportedCipherSuite> {
    let aes = [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384];
    let mut suites = aes.to_vec();
    suites.insert(if aes_first { aes.len() } else { 0 }, TLS13_CHACHA20_POLY1305_SHA256);
    suites
}

/// Whether this processor has instructions for AES-GCM.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let has = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

impl UpgradeInfo for Tls {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(PROTOCOL)
    }
}

/// A secured connection.
pub type TlsStream<C> = futures_rustls::TlsStream<Gathered<C>>;
/// The peer, and the secured connection to it.
type Secured<C> = (PeerId, TlsStream<C>);

impl<C> InboundConnectionUpgrade<C> for Tls
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Secured<C>;
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Secured<C>, TlsError>>;

    fn upgrade_inbound(self, connection: C, _: Self::Info) -> Self::Future {
        async move {
            let stream = TlsAcceptor::from(self.server).accept(Gathered::new(connection)).await?;
            let peer = peer(stream.get_ref().1)?;
            Ok((peer, stream.into()))
        }
        .boxed()
    }
}

impl<C> OutboundConnectionUpgrade<C> for Tls
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Secured<C>;
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Secured<C>, TlsError>>;

    fn upgrade_outbound(self, connection: C, _: Self::Info) -> Self::Future {
        async move {
            // An IP address is not a server name, so none is sent, as libp2p's specification requires.
            let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
            let stream = TlsConnector::from(self.client).connect(nobody, Gathered::new(connection)).await?;
            let peer = peer(stream.get_ref().1)?;
            Ok((peer, stream.into()))
        }
        .boxed()
    }
}

fn peer(state: &CommonState) -> Result<PeerId, TlsError> {
    match state.peer_certificates() {
        Some([certificate]) => Ok(certificate::parse(certificate)?.peer_id()),
        _ => Err(TlsError::NotOneCertificate),
    }
}

/// Accepts exactly one certificate, which is signed by itself and by the key of the peer that it names.
#[derive(Debug)]
struct Libp2pCertificates;

impl Libp2pCertificates {
    fn check(certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        if !others.is_empty() {
            return Err(rustls::Error::General("libp2p's TLS needs exactly one certificate".into()));
        }
        certificate::parse(certificate)?;
        Ok(())
    }

    fn check_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        certificate::parse(certificate)?.verify_signature(signed.scheme, message, signed.signature())?;
        Ok(HandshakeSignatureValid::assertion())
    }

    /// The schemes that libp2p accepts, best first.
    fn schemes() -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA256,
        ]
    }
}

/// TLS 1.2 is not configured, so this is never called.
fn no_tls12() -> rustls::Error {
    rustls::Error::General("libp2p's TLS is TLS 1.3".into())
}

impl ServerCertVerifier for Libp2pCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Self::check(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

impl ClientCertVerifier for Libp2pCertificates {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Self::check(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

#[cfg(test)]
mod tests;
