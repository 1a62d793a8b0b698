//! `pgstream endpoints set`.

use super::look::details;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::on_store::{failure, on_store, show, store_command};
use crate::operator::settings::{self, SettingTexts};

store_command! {
    /// set how an endpoint is talked to; the value `default` sets one back
    #[argh(
        name = "set",
        example = "pgstream endpoints set https://example.com/hook --order serial --timeout 30s",
        example = "pgstream endpoints set https://example.com/hook --batch-size 100 --batch-wait 50ms"
    )]
    SetCommand {
        /// its URL
        #[argh(positional)]
        url: String,
        /// the order of its deliveries: key, serial or none
        #[argh(option, arg_name = "order")]
        order: Option<String>,
        /// how many requests may be in flight at one time
        #[argh(option, arg_name = "number")]
        in_flight: Option<String>,
        /// how long one request may take
        #[argh(option, arg_name = "duration")]
        timeout: Option<String>,
        /// how many events a request may hold, 1 to 1000; 1 means that they are sent one by one
        #[argh(option, arg_name = "number")]
        batch_size: Option<String>,
        /// how long the first event of a batch waits for others
        #[argh(option, arg_name = "duration")]
        batch_wait: Option<String>,
        /// how many bytes of events a request may hold
        #[argh(option, arg_name = "size")]
        batch_bytes: Option<String>,
        /// set up a URL that is not known yet, before it is subscribed
        #[argh(switch)]
        new: bool,
    }
}

impl SetCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let texts = SettingTexts {
            order: self.order.clone(),
            in_flight: self.in_flight.clone(),
            timeout: self.timeout.clone(),
            batch_size: self.batch_size.clone(),
            batch_wait: self.batch_wait.clone(),
            batch_bytes: self.batch_bytes.clone(),
        };
        // A wrong value is told apart before anything is connected to.
        let changes = settings::parse(&texts).map_err(failure)?;
        let found = on_store(context, &self.store(), async |pool| {
            settings::set(&pool, &self.url, &changes, self.new).await
        })?;
        show(context, self.json, &found, details)
    }
}
