Feature: Other hosts join the bootstrap node
  They have no medium: all that they need comes from the bootstrap node.

  @container
  Scenario: A host that was invited asks to join
    Given an invitation, written by nodes.sh on the bootstrap node
    When it is run on a minimal Debian
    Then it ends well
    And it shows the fingerprint of the host
    And the host waits until the operator accepts it

  @container
  Scenario: A host is not accepted by another fingerprint
    Given a host that asked to join
    When nodes.sh accepts it by a wrong fingerprint
    Then it is refused
    And it tells the right one

  @container
  Scenario: A host is accepted by its fingerprint
    Given a host that asked to join
    When nodes.sh accepts it by its fingerprint
    Then it ends well
    And Salt makes it a node, and no bootstrap node
    And its repositories are those of the bootstrap node

  @container
  Scenario: It installs packages and pulls images from the bootstrap node
    Given a host that joined
    Then it can install a package of the bootstrap node's
    And it can pull an image of the bootstrap node's

  @container
  Scenario: A node is removed
    Given a host that joined
    When nodes.sh removes it
    Then it ends well
    And Salt reaches the bootstrap node alone
