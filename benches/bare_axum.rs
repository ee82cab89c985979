//! What the start, the memory and the size of `facing` are held to: a program that only echoes.

#![expect(clippy::print_stderr, reason = "whoever starts it waits for that line")]

use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    eprintln!("{{\"http.address\":\"{}\"}}", listener.local_addr()?);
    benches::echo::serve(listener).await
}
