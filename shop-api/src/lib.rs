//! What goes over the wire between a service of purchases and its clients.
