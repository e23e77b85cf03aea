//! Whose processes are whose below a daemon.

use crate::cpu::{Node, Tree};

/// A template and the workers forked from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// Process id of their init.
    pub(crate) init: u32,
    /// Process id of the template.
    pub(crate) template: u32,
    /// Process ids of the workers, oldest first.
    pub(crate) workers: Vec<u32>,
}

/// The families below a daemon, the root of `tree`.
///
/// A child of the daemon with children of its own is the init of a function's PID namespace; its oldest
/// child is the template. Workers are the template's younger siblings (they are cloned with the template's
/// parent as their own) or its children. An init with a template alone may be a parked runner: no family.
pub(crate) fn families(tree: &Tree) -> Vec<Family> {
    let children = |pid: u32| tree.nodes.iter().filter(move |node| node.parent == pid && !node.zombie);
    let pid = |node: &Node| node.process.pid;
    let Some(daemon) = tree.nodes.first().map(pid) else { return Vec::new() };
    let mut families = Vec::new();
    for init in children(daemon).map(pid) {
        let mut below = children(init).map(pid);
        let Some(template) = below.next() else { continue };
        let workers: Vec<u32> = below.chain(children(template).map(pid)).collect();
        if !workers.is_empty() {
            families.push(Family { init, template, workers });
        }
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Process;

    fn tree(nodes: &[(u32, u32)]) -> Tree {
        let node = |&(pid, parent)| Node {
            process: Process { pid, started: u64::from(pid) },
            parent,
            zombie: false,
        };
        Tree { nodes: nodes.iter().map(node).collect() }
    }

    #[test]
    fn workers_are_the_younger_siblings_or_the_children_of_the_template() {
        // 10: the daemon; 11: its janitor; 12: a parked runner's init; 13 and 14: inits.
        let tree = tree(&[
            (10, 1),
            (11, 10),
            (12, 10),
            (13, 10),
            (14, 10),
            (20, 12),
            (21, 13),
            (22, 13),
            (23, 13),
            (24, 14),
            (30, 24),
        ]);
        assert_eq!(
            families(&tree),
            [
                Family { init: 13, template: 21, workers: vec![22, 23] },
                Family { init: 14, template: 24, workers: vec![30] }
            ]
        );
    }

    #[test]
    fn the_ended_are_not_workers() {
        let mut tree = tree(&[(10, 1), (13, 10), (21, 13), (22, 13)]);
        tree.nodes[3].zombie = true;
        assert_eq!(families(&tree), []);
    }
}
