//! Tickets in Request Tracker 5 over its REST 2.0 interface.
