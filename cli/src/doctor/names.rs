//! Which addresses a name has as seen from here: by the router's own DNS service, or by the box's resolver.

use std::io;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::time::Duration;

use genkan_services::ddns::{DnsName, Family, lookup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long an answer is waited for. Who asks the doctor has time, but not much.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the DNS service at one of the router's own addresses, by TCP, as the box's own programs can. Empty: it does not
/// tell.
pub(super) async fn by_service(server: Ipv4Addr, name: &str, family: Family) -> Vec<IpAddr> {
    let Ok(name) = DnsName::parse(name) else { return Vec::new() };
    // Who answers on a connection of our own is who was asked.
    let question = lookup::question(1, &name, family);
    let answer = timeout(PATIENCE, exchange(server, &question)).await;
    answer
        .ok()
        .and_then(Result::ok)
        .and_then(|answer| lookup::addresses(&answer, &question))
        .unwrap_or_default()
}

async fn exchange(server: Ipv4Addr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((server, 53)).await?;
    // A question for one name has no 64 KiB.
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(question);
    stream.write_all(&message).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Asks the box's resolver. Empty: it does not tell, or not in time.
pub(super) async fn by_system(name: &str, family: Family) -> Vec<IpAddr> {
    let (tell, told) = oneshot::channel();
    let name = name.to_owned();
    // A thread of its own: one that the C library keeps waiting must not keep the program waiting.
    let thread = std::thread::Builder::new().spawn(move || {
        let found = (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|at| at.ip()).collect());
        // Nobody waits any more.
        let _ = tell.send(found.unwrap_or_else(|_| Vec::new()));
    });
    if thread.is_err() {
        return Vec::new();
    }
    let found: Vec<IpAddr> = timeout(PATIENCE, told).await.ok().and_then(Result::ok).unwrap_or_default();
    found.into_iter().filter(|address| Family::of(*address) == family).collect()
}
