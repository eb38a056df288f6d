//! Tests that use the permissions of root where they have them: other users, private mounts, limits
//! of the system, and network namespaces. Without these permissions they skip that part.

mod access;
mod doctor;
mod limits;
mod netlink;
mod permissions;
