//! Compiles the schema without a system `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/introspection.proto");
    let schema = protox::compile(["proto/introspection.proto"], ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(schema)?;
    Ok(())
}
