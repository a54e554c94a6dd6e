//! Generates client and server of the gRPC rival's service, without protoc.

fn main() {
    #[cfg(feature = "rivals")]
    rival();
}

#[cfg(feature = "rivals")]
fn rival() {
    use tonic_build::manual::{Builder, Method, Service};

    let create = Method::builder()
        .name("create")
        .route_name("Create")
        .input_type("crate::grpc::Text")
        .output_type("crate::grpc::Text")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let plugin = Service::builder().name("Plugin").package("ticket").method(create).build();
    Builder::new().compile(&[plugin]);
}
