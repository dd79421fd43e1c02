//! Starting processes, and waiting for VMs.

use super::child::AsyncChild;
use super::events::AsyncEvents;
use super::link::Link;
use super::reach::Replies;
use super::streams::AsyncStdin;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::exec::{ExecBuilder, ExecStdin, Output};
use crate::reach::Reach;
use crate::session::{Collected, Finished};
use crate::supervisor::Outcome;
use crate::vm::Vm;
use proto::session::{Exit, Request, RequestBody};
use proto::supervisor::{Reply, RequestBody as Asked};
use std::ffi::OsStr;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

impl ExecBuilder<'_> {
    /// As [`Self::output`], to be awaited. Dropping the future kills the process.
    pub async fn output_async(self) -> Result<Output, Error> {
        let (deadline, limit) = (self.deadline, self.output_limit);
        let reach = self.vm.reach().clone();
        within(deadline, async move {
            let link = self.link().await?;
            let (finished, collected) = collect(&link, limit).await;
            match finished {
                Ok(exit) => Ok(collected.into_output(exit)),
                Err(error) => Err(reach.explain_async(error).await),
            }
        })
        .await
    }

    /// As [`Self::chain`], to be awaited. Dropping the future kills the process that runs.
    pub async fn chain_async<S: AsRef<OsStr>, C: IntoIterator<Item = S>>(
        self,
        commands: impl IntoIterator<Item = C>,
    ) -> Result<Vec<Result<Output, Error>>, Error> {
        let (deadline, limit) = (self.deadline, self.output_limit);
        let vm = self.vm;
        let canceler = self.canceler.clone();
        let Some(series) = self.series(commands)? else {
            return Ok(Vec::new());
        };
        within(deadline, async move {
            let link = open(vm.reach(), RequestBody::Series(series)).await?;
            if let Some(canceler) = canceler {
                canceler.watch(link.session());
            }
            let (finished, collected) = collect(&link, limit).await;
            let last = match finished {
                Ok(exit) => Ok(exit),
                Err(error) => Err(vm.reach().explain_async(error).await),
            };
            Ok(collected.into_chain(link.session().take_steps(), last))
        })
        .await
    }

    /// As [`Self::spawn`], to be awaited.
    pub async fn spawn_async(self) -> Result<AsyncChild, Error> {
        let streaming = self.stdin == ExecStdin::Stream;
        let has_terminal = self.wishes.tty.is_some();
        let reach = self.vm.reach().clone();
        let mut child = AsyncChild::new(self.link().await?, reach);
        child.has_terminal = has_terminal;
        child.stdin = streaming.then(|| AsyncStdin::new(Arc::clone(&child.link)));
        Ok(child)
    }

    async fn link(mut self) -> Result<Link, Error> {
        let canceler = self.canceler.take();
        let reach = self.vm.reach().clone();
        let (body, input) = self.request()?;
        let link = open(&reach, body).await?;
        if let Some(canceler) = canceler {
            canceler.watch(link.session());
        }
        if let Some(bytes) = input {
            link.session().feed(bytes);
        }
        Ok(link)
    }
}

async fn open(reach: &Reach, body: RequestBody) -> Result<Link, Error> {
    let link = Link::new(reach.connect_async().await?)?;
    link.session().request(&Request::new(body))?;
    Ok(link)
}

/// Collects both outputs until the process has ended. What goes wrong kills it with the link.
async fn collect(link: &Link, limit: usize) -> (Finished, Collected) {
    let mut collected = Collected::default();
    let finished = link.until(|state, _| collected.look(state, limit)).await;
    (finished, collected)
}

async fn within<T>(
    deadline: Deadline,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(limit) = deadline.remaining() else {
        return work.await;
    };
    let waiting_for = "the process";
    let late = |_| Error::Deadline { waiting_for, limit };
    tokio::time::timeout(limit, work).await.map_err(late)?
}

impl Vm {
    /// As [`Self::exec`], to be awaited. Dropping the future kills the process.
    pub async fn exec_async<S: AsRef<OsStr>>(
        &self,
        argv: impl IntoIterator<Item = S>,
    ) -> Result<Output, Error> {
        self.exec_builder().argv(argv).output_async().await
    }

    /// The exit of the workload, once the VM has ended.
    pub async fn wait_async(&self) -> Result<Exit, Error> {
        self.has_workload()?;
        match self.reach() {
            Reach::Local { shared, .. } => {
                let (tell, told) = oneshot::channel();
                shared.watch(move |outcome| {
                    // Nobody may want to know anymore.
                    let _ = tell.send(outcome.clone());
                });
                match told.await {
                    Ok(Outcome::Exited(exit)) => Ok(exit),
                    Ok(Outcome::Failed(error)) => Err(Error::Shared(error)),
                    Ok(Outcome::Stopped) | Err(_) => Err(Error::Stopped),
                }
            }
            Reach::Remote(client) => {
                // Anything but an exit is in the record by then, in more words.
                if let Ok(replies) = Replies::ask(client, Asked::Wait)
                    && let Ok((Reply::Exited(exit), _)) = replies.next().await
                {
                    return Ok(exit);
                }
                self.wait_deadline(Duration::ZERO)
            }
        }
    }

    /// As [`Self::events`], to be awaited.
    pub fn events_async(&self) -> Result<AsyncEvents, Error> {
        let replies = Replies::ask(&self.supervisor(), Asked::Events)?;
        Ok(AsyncEvents(Some(replies)))
    }
}
