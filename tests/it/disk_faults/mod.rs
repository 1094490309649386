//! A disk that fails (`support::disk`): what meterd cannot know to be stored it refuses, no answer is wrong, and what was
//! acknowledged is there when it starts again on a healthy disk.

mod lost_pages;
mod opening;
mod reading;
mod slow;
mod writing;
