"""What to type where a package is missing."""

from hfdistill.models import extras


def test_the_extra_is_installed_from_where_the_package_is(tmp_path, monkeypatch):
    """`pip install 'hfdistill[export]'` would put another release over somebody's clone, or find none."""
    monkeypatch.setattr(extras, "ROOT", tmp_path)
    assert extras.install_hint("export") == "pip install 'hfdistill[export]'"
    (tmp_path / "pyproject.toml").touch()
    assert extras.install_hint("export") == f"pip install -e '{tmp_path}[export]'"
