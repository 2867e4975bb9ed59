"""The nets and solvers that cvgg ships: read them with
importlib.resources.files("cvgg.prototxt")."""
