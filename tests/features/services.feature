Feature: What the bootstrap node serves, and to whom

  Background:
    Given the bootstrap node

  @container @vm
  Scenario: Every service runs and starts with the host
    Then every service runs
    And every service starts with the host

  @container
  Scenario: Nothing listens beyond the control plane
    Then the node listens on its control-plane address and nowhere else

  @container @vm
  Scenario: Every image of the medium can be pulled through the registry
    Then every image of the medium can be pulled

  @container
  Scenario: Packages are installed from the medium
    When a package is installed with apt-get
    Then it came from the medium
    And no upstream repository was asked

  @container
  Scenario: Packages and images are served over HTTPS, for which the node vouches
    Then a client that trusts the node's authority is served packages and images
    And a client that trusts another authority refuses the server
    And nothing else of the medium is served

  @container
  Scenario: The firewall keeps out who is not on the control plane
    Given a host beside the control plane, which reaches the node when there is no firewall
    When that host connects to the node
    Then nobody answers

  @container
  Scenario: etcd answers its own clients only
    Then a client with a certificate of etcd hears that it is healthy
    And a client without one hears nothing

  @container
  Scenario: Salt reaches the node
    Then Salt reaches the bootstrap node alone

  @container
  Scenario: Salt's API serves who knows the password
    Then with the password the API has Salt reach the node
    And without the password nobody is served
