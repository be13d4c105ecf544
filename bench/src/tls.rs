//! The lower bound: one file through TLS 1.3 over TCP, nothing checked.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName},
    version::TLS13,
};
use tokio::{
    fs::File,
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const NAME: &str = "provider";
/// Bytes read from a file at once, and the memory for them.
const BLOCK: usize = 1024 * 1024;

/// Prints its address and certificate, and sends the file on every connection until it is killed.
pub(crate) async fn provide(payload: PathBuf, address: IpAddr) -> Result<()> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.key_pair.serialize_der());
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((address, 0)).await?;
    println!("{} {}", listener.local_addr()?, hex(&certificate));
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, payload) = (acceptor.clone(), payload.clone());
        tokio::spawn(async move {
            if let Err(error) = send(&acceptor, stream, &payload).await {
                eprintln!("sending failed: {error}");
            }
        });
    }
}

async fn send(acceptor: &TlsAcceptor, stream: TcpStream, payload: &Path) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let mut file = std::fs::File::open(payload)?;
    stream.write_u64(file.metadata()?.len()).await?;
    // Plain reads from the page cache: passing each to another thread would cost more.
    let mut block = vec![0; BLOCK];
    loop {
        match std::io::Read::read(&mut file, &mut block)? {
            0 => break,
            length => stream.write_all(&block[..length]).await?,
        }
    }
    Ok(stream.shutdown().await?)
}

/// Waits for one line with the output of [`provide`]. Reports how long it took to write the file and make it durable,
/// and how long the writing alone took, from the first byte.
pub(crate) async fn consume(payload: &Path) -> Result<()> {
    let line = go().await?;
    let (address, certificate) = line.split_once(' ').context("a word is missing")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(unhex(certificate)?))?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let begun = Instant::now();
    let stream = TcpStream::connect(address.parse::<SocketAddr>()?).await?;
    stream.set_nodelay(true)?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from(NAME)?, stream).await?;
    let length = stream.read_u64().await?;
    let first = Instant::now();
    let mut file = std::fs::File::create_new(payload)?;
    let (mut block, mut written) = (vec![0; BLOCK], 0);
    while written < length {
        let read = stream.read(&mut block).await?;
        ensure!(read > 0, "the stream ended early");
        std::io::Write::write_all(&mut file, &block[..read])?;
        written += read as u64;
    }
    let streamed = first.elapsed();
    File::from_std(file).sync_data().await?;
    report(begun.elapsed(), streamed).await
}

/// The cryptography of rpp-node, with AES preferred.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Reports that it is ready, and waits for the line that starts it.
pub(crate) async fn go() -> Result<String> {
    println!("ready");
    let mut line = String::new();
    BufReader::new(tokio::io::stdin()).read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

/// Reports how long it took, and stays, so that its usage can be read.
pub(crate) async fn report(total: Duration, streamed: Duration) -> Result<()> {
    println!("{} {}", total.as_secs_f64(), streamed.as_secs_f64());
    std::future::pending().await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| Ok(u8::from_str_radix(&text[at..at + 2], 16)?)).collect()
}
