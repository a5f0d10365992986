//! A protocol of one's own over TCP, balanced: a line goes out, a line comes back.
//!
//! The pitfall: a client that connects with its first request has spent the request when it learns that the instance is dead.
//! Here the connection stands before the request is handed over.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tower::{BoxError, Service};
use zk_registry::balance::{Balancer, strategy::LeastLoaded};
use zk_registry::{Member, Options, Registry, Resolve, ServiceWatch, tower::Balance};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let [_, zookeeper, service] = &*std::env::args().collect::<Vec<_>>() else {
        return Err("usage: plain ZOOKEEPER SERVICE".into());
    };
    let registry = Registry::open(zookeeper.parse()?, Options::default());
    println!("{}", ask(registry.watch(&service.parse()?), "hello").await?);
    Ok(())
}

/// One connection; its calls go one after the other.
#[derive(Clone)]
struct Line(Arc<Mutex<BufStream<TcpStream>>>);

impl Service<String> for Line {
    type Response = String;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, std::io::Result<String>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: String) -> Self::Future {
        let line = Arc::clone(&self.0);
        Box::pin(async move {
            let (mut line, mut answer) = (line.lock().await, String::new());
            line.write_all(format!("{request}\n").as_bytes()).await?;
            line.flush().await?;
            match line.read_line(&mut answer).await? {
                0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(answer.trim_end().to_owned()),
            }
        })
    }
}

/// Asks one instance.
pub(crate) async fn ask(watch: ServiceWatch, question: &str) -> Result<String, BoxError> {
    let dial = |to: Arc<Member>| async move {
        let stream = TcpStream::connect((to.host(), to.port())).await?;
        Ok::<_, std::io::Error>(Line(Arc::new(Mutex::new(BufStream::new(stream)))))
    };
    Ok(Balance::new(watch, Balancer::new(LeastLoaded), dial).call(question.to_owned()).await?)
}
