//! Variables of other programs, in the environment of a service.

use crate::prelude::*;

/// Variables of a login shell, of compose, and of the project's tests.
const LOGIN_SHELL: &str = include_str!("environments/login-shell.env");

/// The variables that Kubernetes sets in a pod, for services whose variables begin as settings do.
const POD: &str = include_str!("environments/pod.env");

#[tokio::test]
async fn services_start_in_a_login_shell_and_in_a_pod() {
    for variables in [LOGIN_SHELL, POD] {
        let variables = variables.lines().map(|line| line.split_once('=').unwrap());
        let environment: Vec<_> = variables.collect();
        let (_folder, facing) = Process::fresh(Binary::Facing, &environment).await;
        must_buy(&facing, ADA).await;
        let (_folder, management) = Process::fresh(Binary::Management, &environment).await;
        facing.stop().await;
        management.stop().await;
    }
}
