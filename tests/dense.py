"""CR2 and its degrees of freedom by whole matrices, as the papers define them: for tests."""

import numpy as np


def dense_cr2(values, x, clusters, weights):
    """Return value, standard error and degrees of freedom of `weights @ coefficients`.

    Bell and McCaffrey's adjustment and Satterthwaite's df, of errors that are independent, and of
    errors half of whose variance the cases of a cluster share; the more careful of both.
    """
    n, weights = len(values), np.asarray(weights, dtype=float)
    bread = np.linalg.inv(x.T @ x)
    annihilator = np.eye(n) - x @ bread @ x.T
    residuals = annihilator @ values
    variance, rows = 0.0, []
    for cluster in np.unique(clusters):
        mine = np.flatnonzero(clusters == cluster)
        roots, vectors = np.linalg.eigh(annihilator[np.ix_(mine, mine)])
        influence = vectors @ np.diag(roots**-0.5) @ vectors.T @ x[mine] @ bread @ weights
        variance += (influence @ residuals[mine]) ** 2
        rows.append(annihilator[mine].T @ influence)
    rows = np.array(rows)
    same = (np.asarray(clusters)[:, None] == np.asarray(clusters)).astype(float)
    line, answers = x @ bread @ weights, []
    for covariance in (np.eye(n), np.eye(n) + same):
        form = rows @ covariance @ rows.T
        df = np.trace(form) ** 2 / np.trace(form @ form)
        answers.append((line @ covariance @ line / np.trace(form), df))
    (_, independent), (lacking, shared) = answers
    se = np.sqrt(variance * max(1.0, lacking))
    return weights @ bread @ x.T @ values, se, min(independent, shared)
