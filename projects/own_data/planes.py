# Metainfo of the planes: what configs/_base_/datasets/coco.py is for COCO
dataset_info = dict(
    dataset_name='planes',
    keypoint_info={
        0: dict(name='nose', id=0, color=[255, 128, 0], type='', swap=''),
        1: dict(name='tail', id=1, color=[255, 128, 0], type='', swap=''),
        2: dict(name='left_wing', id=2, color=[0, 255, 0], type='', swap='right_wing'),
        3: dict(name='right_wing', id=3, color=[51, 153, 255], type='', swap='left_wing'),
        4: dict(name='left_tailplane', id=4, color=[0, 255, 0], type='', swap='right_tailplane'),
        5: dict(name='right_tailplane', id=5, color=[51, 153, 255], type='', swap='left_tailplane'),
    },
    skeleton_info={
        0: dict(link=('nose', 'tail'), id=0, color=[255, 128, 0]),
        1: dict(link=('nose', 'left_wing'), id=1, color=[0, 255, 0]),
        2: dict(link=('nose', 'right_wing'), id=2, color=[51, 153, 255]),
        3: dict(link=('tail', 'left_tailplane'), id=3, color=[0, 255, 0]),
        4: dict(link=('tail', 'right_tailplane'), id=4, color=[51, 153, 255]),
    },
    joint_weights=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    # how exactly a keypoint can be told, as a share of the plane's size
    sigmas=[0.05, 0.05, 0.05, 0.05, 0.05, 0.05],
)
