//! The baseline of the start, the memory and the size of `facing`: a program that only echoes.

#[tokio::main]
async fn main() -> std::io::Result<()> {
    benches::echo::serve().await
}
