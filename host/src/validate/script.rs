//! The ticket system that a plugin under test talks to: a script, or one and the same answer.

mod content;
mod rules;
mod settings;
mod system;
mod variants;

pub(super) use content::{arrives, texts};
pub(super) use rules::{FIRST, Role, Rule, When};
pub(crate) use settings::{Settings, Webhook};
pub(super) use system::{Behaviour, Exchange, Rendered, Scripted, Seen};
pub(super) use variants::{among_others, lacking, of_others, with_another, without_list};
