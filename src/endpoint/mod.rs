//! A URL and how to talk to it: model and registry.
