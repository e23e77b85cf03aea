//! Crimes with one layer of the confinement off: so one sees that they are real, and what stops them then; and that no
//! daemon but the one that is built for this has such a switch.

mod switch;
mod table;
