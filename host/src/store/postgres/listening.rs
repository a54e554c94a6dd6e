//! Hears from other hosts that there is something new to claim. It may not come: behind a pooler that gives each transaction another
//! connection nobody hears anything. Who is not told finds out when it looks, which it does all the time.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// The channel of all hosts.
pub(super) const CHANNEL: &str = "ticket_host";
/// How long to wait before another connection is tried.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Listening {
    told: Arc<Notify>,
    task: AbortHandle,
}

impl Listening {
    /// `own` is what this host itself says, which is no news.
    pub(super) fn start(options: PgConnectOptions, own: String) -> Listening {
        let told = Arc::new(Notify::new());
        let tells = Arc::clone(&told);
        let task = tokio::spawn(async move {
            loop {
                // An error means that the database can't be reached, of which those tell who ask it for something.
                let _ = listen(&options, &own, &tells).await;
                sleep(PAUSE).await;
            }
        });
        Listening { told, task: task.abort_handle() }
    }

    /// Returns when another host has said something since this was last called.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(options: &PgConnectOptions, own: &str, told: &Notify) -> sqlx::Result<()> {
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    // It ends when the connection does: whoever made it makes another one.
    while let Some(notification) = listener.try_recv().await? {
        if notification.payload() != own {
            told.notify_one();
        }
    }
    Ok(())
}
