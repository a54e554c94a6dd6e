//! The ticket system that a plugin under test talks to: a script, or one and the same answer.

mod content;
mod rules;
mod settings;
mod system;

pub(super) use content::{arrives, texts};
pub(super) use rules::{FIRST, Role, Rule, When};
pub(crate) use settings::{Settings, Webhook};
pub(super) use system::{Behaviour, Exchange, Scripted, Seen};
