//! A rival of the worker: a plugin as a process that serves gRPC on a Unix socket, the way
//! HashiCorp's go-plugin has it.

#[allow(clippy::all, unreachable_pub, missing_debug_implementations)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/ticket.Plugin.rs"));
}

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use generated::plugin_client::PluginClient;
use generated::plugin_server::{Plugin, PluginServer};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

/// The first argument, by which this program becomes such a plugin.
pub const ARGUMENT: &str = "grpc-plugin";

/// A message with the JSON of a request or of a reply.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

struct Replies;

#[tonic::async_trait]
impl Plugin for Replies {
    async fn create(&self, request: Request<Text>) -> Result<Response<Text>, Status> {
        let reply = ticket_bench_root_module::reply(&request.into_inner().text);
        let text = reply.map_err(Status::invalid_argument)?;
        Ok(Response::new(Text { text }))
    }
}

/// The plugin's process: serves on the socket at `path` until it is killed.
pub fn serve(path: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async {
            let listener = tokio::net::UnixListener::bind(path).unwrap();
            // go-plugin's handshake: the plugin prints where the host can reach it.
            println!("1|1|unix|{path}|grpc");
            std::io::stdout().flush().unwrap();
            let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
            Server::builder()
                .add_service(PluginServer::new(Replies))
                .serve_with_incoming(incoming)
                .await
        })
        .map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// A plugin process, and the connection to it.
pub struct GrpcPlugin {
    child: Child,
    client: PluginClient<Channel>,
    _directory: tempfile::TempDir,
}

impl GrpcPlugin {
    pub fn start(runtime: &Runtime) -> GrpcPlugin {
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().join("socket");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(ARGUMENT).arg(&path).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.ends_with("|grpc\n"), "{line}");
        let url = format!("unix://{}", path.display());
        let client = runtime.block_on(PluginClient::connect(url)).unwrap();
        GrpcPlugin { child, client, _directory: directory }
    }

    pub async fn create(&mut self, request: &str) -> String {
        let request = Request::new(Text { text: request.to_owned() });
        self.client.create(request).await.unwrap().into_inner().text
    }
}

impl Drop for GrpcPlugin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
